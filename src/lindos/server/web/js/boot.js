// Runs before the first paint, so that the page never flashes in the other theme.
(() => {
  let choice = "auto";
  try {
    choice = localStorage.getItem("lindos.theme") ?? "auto";
  } catch {
    // Storage can be forbidden; the system's theme it is, then.
  }
  const dark = choice === "dark" || (choice !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
