// The Python face; the classes behind it are in bindings.hpp.
#include "bindings_network.hpp"
#include "packing.hpp"

using namespace nb::literals;

namespace lindos {

NB_MODULE(_native, m) {
  m.doc() = "Native kernels on packed matrices; see lindos.kernels.products for their Python face.";
  m.def("runs", [](const std::string& name) { return runs(name.c_str()); }, "name"_a,
        "Whether this processor and build have the kernels of an instruction set.");
  nb::class_<HeldMatrix>(m, "Matrix")
      .def(nb::init<Bytes, int, int64_t, int64_t, float>(), "data"_a, "format"_a, "rows"_a, "columns"_a,
           "multiplier"_a = 1.0f);
  nb::class_<ExpertTable>(m, "ExpertTable")
      .def(nb::init<int, int>(), "count"_a, "activation"_a)
      .def("set", &ExpertTable::set, "index"_a, "gate"_a, "up"_a, "down"_a)
      .def("drop", &ExpertTable::drop, "index"_a);
  nb::class_<Kernels>(m, "Kernels")
      .def(nb::init<const std::string&, int, bool>(), "isa"_a, "threads"_a, "bind"_a)
      .def_prop_ro("name", &Kernels::name)
      .def_prop_ro("threads", &Kernels::threads)
      .def_prop_ro("many", &Kernels::many, "From so many rows on products are computed in bf16.")
      .def("multiply", &Kernels::multiply, "x"_a, "matrices"_a, "outs"_a)
      .def("mix", &Kernels::mix, "table"_a, "x"_a, "chosen"_a, "gates"_a, "out"_a);
  nb::class_<Network>(m, "Network")
      .def(nb::init<Kernels&, nb::dict>(), "kernels"_a, "shape"_a, nb::keep_alive<1, 2>())
      .def("add_layer", &Network::add_layer, "query"_a, "key"_a, "value"_a, "output"_a, "norms"_a, "router"_a, "table"_a,
           "shared"_a, nb::keep_alive<1, 8>())
      .def("attend", &Network::attend, "layer"_a, "h"_a, "pages"_a, "sequences"_a, "blocks"_a,
           "visible"_a.none(), "cosines"_a, "sines"_a, "temperatures"_a.none(), "out"_a)
      .def("set_ends", &Network::set_ends, "embedding"_a, "head"_a, "norm"_a, "embedding_multiplier"_a,
           "logit_multiplier"_a, "logit_cap"_a)
      .def("keep_pages", &Network::keep_pages, "pages"_a)
      .def("embed", &Network::embed, "tokens"_a, "h"_a)
      .def("logits", &Network::logits, "h"_a, "out"_a)
      .def("forward", &Network::forward, "tokens"_a, "sequences"_a, "blocks"_a, "visible"_a.none(), "cosines"_a,
           "sines"_a, "temperatures"_a.none(), "last"_a, "out"_a)
      .def("finish", nb::overload_cast<int64_t, const Floats&, FloatsOut>(&Network::finish), "layer"_a, "o"_a, "h"_a)
      .def("route", &Network::route, "layer"_a, "o"_a, "h"_a)
      .def("mix", &Network::mix, "layer"_a, "some"_a)
      .def("add", &Network::add, "layer"_a, "h"_a);
  m.def("pack_rounded", &pack_rounded, "isa"_a, "values"_a, "scales"_a.none(), "format"_a, "divisors"_a, "out"_a,
        "Weights rounded and packed; False where one is not finite or too large.");
  m.def("lay_out", &lay_out, "isa"_a, "values"_a, "scales"_a, "format"_a, "out"_a,
        "Whole numbers packed as they are; False where one is beyond int4.");
}

}  // namespace lindos
