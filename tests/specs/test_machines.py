"""The catalogue of machines: every entry is whole, says where it is from, and holds figures that fit together."""

from __future__ import annotations

import json

import pytest

from lindos.specs import (
    Accelerator,
    Cluster,
    Fabric,
    Machine,
    Precision,
    SpecError,
    catalog_accelerators,
    catalog_clusters,
    catalog_fabrics,
    catalog_machines,
    load_cluster,
    load_machine,
)

ACCELERATORS, FABRICS = catalog_accelerators(), catalog_fabrics()
MACHINES, CLUSTERS = catalog_machines(), catalog_clusters()


def names(entries):
    return pytest.mark.parametrize("entry", entries.values(), ids=list(entries))


@names(ACCELERATORS | FABRICS | MACHINES | CLUSTERS)
def test_entries_have_a_title_and_a_source(entry):
    assert entry.title
    assert entry.source


@names(ACCELERATORS | MACHINES)
def test_prices_and_powers_say_where_they_are_from(entry):
    if entry.price or getattr(entry, "rent", 0):
        assert any(year in entry.price_source for year in ("2018", "2020", "2022", "2023", "2024", "2025"))
    if isinstance(entry, Machine) and entry.power_watts:
        assert entry.power_source


@names(ACCELERATORS)
def test_peaks_grow_as_precision_falls(entry):
    ladder = [Precision.FP32, Precision.FP16, Precision.FP8, Precision.INT8, Precision.INT4]
    peaks = [entry.peak_flops[p] for p in ladder if p in entry.peak_flops]
    assert peaks == sorted(peaks)
    if Precision.BF16 in entry.peak_flops:
        bf16 = entry.peak_flops[Precision.BF16]
        assert entry.peak_flops.get(Precision.FP32, 0) <= bf16
        assert entry.peak_flops.get(Precision.FP8, bf16) >= bf16
        assert entry.peak_flops.get(Precision.INT8, bf16) >= bf16
        assert entry.peak_flops.get(Precision.FP16, bf16) == bf16
    assert (entry.link_bandwidth > 0) == (entry.link_domain > 1)


@names(ACCELERATORS)
def test_dense_peaks_and_bandwidths_are_of_a_likely_size(entry):
    """A sparse peak, or a bandwidth of both directions, taken for the wanted one would double these."""
    best = max(entry.peak_flops.get(Precision.BF16, 0), entry.peak_flops.get(Precision.FP16, 0))
    flops_per_byte = best / entry.memory_bandwidth
    assert 15 < flops_per_byte < 600
    assert entry.link_bandwidth < entry.memory_bandwidth
    assert 15e9 < entry.memory_bytes < 600e9


def test_the_gpus_of_published_runs_are_there():
    wanted = {
        "v100-32gb", "a100-40gb", "a100-80gb", "h100-sxm", "h100-pcie", "h100-96gb", "h200", "h800", "b200", "b300",
        "gb200", "gb300", "mi300x", "l40s", "rtx-4090", "rtx-5090", "rtx-pro-6000", "tpu-v3", "tpu-v4", "tpu-v5e",
        "tpu-v5p", "tpu-v6e", "l4", "a10", "a10g", "a100-80gb-pcie", "h100-nvl",
    }  # fmt: skip
    assert wanted <= set(ACCELERATORS)


@names(MACHINES)
def test_machines_are_whole(entry):
    assert entry.price or entry.rent or entry.name in {"hgx-h100-96gb", "hgx-h800", "gb200-tray", "gcp-a4-highgpu-8g"}
    assert (entry.rent > 0) <= (entry.kind == "cloud")
    if entry.accelerator:
        assert entry.accelerator == ACCELERATORS[entry.accelerator.name]
        assert (
            entry.power_watts == 0
            or entry.power_watts > 0.9 * entry.accelerators * entry.accelerator.power_watts
            or (
                entry.name == "hgx-h200"  # measured in a power-saving mode
            )
        )
        assert entry.host_link or entry.accelerator.generation == "apple"
    else:
        assert {Precision.FP32, Precision.BF16} <= set(entry.host_flops)
        assert entry.host_flops[Precision.FP32] <= entry.host_flops[Precision.BF16]


def test_clouds_let_single_gpus_too():
    small = [machine for machine in MACHINES.values() if machine.kind == "cloud" and machine.accelerators == 1]
    assert len(small) >= 12
    assert {"l4", "a10g", "l40s", "a100-40gb", "h100-sxm", "h100-nvl"} <= {
        m.accelerator.name for m in small if m.accelerator
    }
    assert all(0.5 < machine.rent < 12 for machine in small)


def test_shared_memory_is_counted_once():
    for machine in MACHINES.values():
        if machine.accelerator and machine.accelerator.generation == "apple":
            assert machine.host_memory_bytes == 0


@pytest.mark.parametrize(
    ("name", "sockets", "channels", "transfers"),
    [
        ("desktop-96gb", 1, 2, 5600e6),
        ("desktop-192gb", 1, 2, 3600e6),
        ("threadripper-pro-512gb", 1, 8, 5200e6),
        ("xeon-cascade-lake-2x6", 2, 6, 2933e6),
        ("epyc-milan-2x8", 2, 8, 3200e6),
        ("epyc-genoa-1x12", 1, 12, 4800e6),
        ("epyc-genoa-2x12", 2, 12, 4800e6),
        ("epyc-turin-2x12", 2, 12, 6400e6),
        ("xeon-sapphire-rapids-2x8", 2, 8, 4800e6),
        ("xeon-emerald-rapids-2x8", 2, 8, 5600e6),
        ("xeon-granite-rapids-2x12", 2, 12, 8800e6),
        ("dgx-1-v100", 2, 4, 2400e6),
        ("dgx-a100-80gb", 2, 8, 3200e6),
        ("dgx-h100", 2, 8, 4800e6),
        ("hgx-b200", 2, 8, 5600e6),
        ("hgx-b300", 2, 8, 6400e6),
        ("aws-m7i-metal-48xl", 2, 8, 4800e6),
        ("aws-r8g-48xlarge", 2, 12, 5600e6),
        ("aws-r8i-96xlarge", 2, 12, 7200e6),
    ],
)
def test_memory_bandwidth_is_channels_times_rate(name, sockets, channels, transfers):
    assert MACHINES[name].host_bandwidth == pytest.approx(sockets * channels * transfers * 8, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "clock", "fp32", "bf16", "int8"),
    [
        ("xeon-cascade-lake-2x6", 1.8e9, 64, 64, 256),
        ("epyc-genoa-2x12", 2.4e9, 32, 64, 128),
        ("epyc-turin-2x12", 2.7e9, 64, 128, 256),
        ("xeon-sapphire-rapids-2x8", 2.0e9, 64, 1024, 2048),
        ("xeon-emerald-rapids-2x8", 1.9e9, 64, 1024, 2048),
        ("xeon-granite-rapids-2x12", 2.0e9, 64, 1024, 2048),
        ("threadripper-pro-512gb", 3.2e9, 32, 64, 128),
        ("gb200-nvl72", 3.1e9, 32, 128, 256),
        ("aws-r8g-48xlarge", 2.8e9, 32, 128, 256),
    ],
)
def test_host_peaks_are_cores_times_clock_times_width(name, clock, fp32, bf16, int8):
    machine = MACHINES[name]
    for precision, width in ((Precision.FP32, fp32), (Precision.BF16, bf16), (Precision.INT8, int8)):
        assert machine.host_flops[precision] == pytest.approx(machine.cores * clock * width, rel=0.01)


def test_colossus_is_the_published_size():
    colossus = load_cluster("colossus")
    assert colossus.devices == 100_000
    assert colossus.devices * colossus.watts_per_device == pytest.approx(155e6, rel=0.01)
    assert colossus.nodes_per_pod * colossus.machine.devices == 512
    assert colossus.machine.accelerator == ACCELERATORS["h100-sxm"]
    assert colossus.node_bandwidth == 400e9
    doubled = load_cluster("colossus-2")
    assert doubled.devices == 200_000
    assert doubled.devices * doubled.watts_per_device == pytest.approx(300e6, rel=0.01)


@pytest.mark.parametrize(
    ("name", "devices"),
    [
        ("llama-3-16k", 16_384), ("deepseek-2k", 2_048), ("eos-11k", 10_752), ("selene", 4_480), ("h100-8", 8),
        ("h100-64", 64), ("h100-1k", 1_024), ("a100-1k", 1_024), ("b200-256", 256), ("gb200-nvl72-x64", 4_608),
        ("tpu-v5p-8k", 8_192),
    ],
)  # fmt: skip
def test_clusters_have_the_devices_of_their_names(name, devices):
    assert CLUSTERS[name].devices == devices


@names(CLUSTERS)
def test_clusters_are_whole(entry):
    assert entry.fabric == FABRICS[entry.fabric.name]
    assert entry.machine == MACHINES[entry.machine.name]
    assert entry.nodes_per_pod <= entry.nodes
    assert entry.watts_per_device or entry.machine.power_watts or entry.price_per_device_hour
    cost = entry.price_per_device_hour, entry.price_per_device, entry.machine.price, entry.machine.rent
    assert any(cost)
    # One port carries no more than PCIe takes to the accelerators that share it.
    assert entry.node_bandwidth <= entry.machine.devices * max(entry.machine.host_link, 50e9) * 1.01


def changed(**fields) -> dict:
    return {**ACCELERATORS["h100-sxm"].model_dump(), **fields}


@pytest.mark.parametrize(
    ("kind", "entry", "message"),
    [
        (Accelerator, changed(peak_flops={}), "peak_flops: give the peak of at least one precision"),
        (Accelerator, changed(peak_flops={"bf16": 1e-300}), "peak_flops.bf16: must lie between 1000 and 1e+20 oper"),
        (Accelerator, changed(memory_bandwidth=1e-300), "must lie between 1000 and 1e+18 bytes per second (got 1e-300"),
        (Accelerator, changed(memory_bandwidth=float("inf")), "memory_bandwidth: input should be a finite number"),
        (Accelerator, changed(link_bandwidth=-1.0), "must be 0 (unknown or none) or lie between 1000 and 1e+18"),
        (Accelerator, changed(power_watts=1e308), "or lie between 0.001 and 1e+09 watts (got 1e+308)"),
        (Machine, MACHINES["dgx-h100"].model_dump() | {"rent": 1e308}, "and 1e+12 dollars (got 1e+308)"),
        (Machine, MACHINES["dgx-h100"].model_dump() | {"host_bandwidth": 1e-300}, "host_bandwidth: must be 0"),
        (Machine, MACHINES["dgx-h100"].model_dump() | {"disk_bytes": 1e300}, "and 1e+18 bytes (got 1e+300)"),
        (Machine, MACHINES["dgx-h100"].model_dump() | {"accelerators": 10**30}, "less than or equal to 1000000"),
        (Fabric, FABRICS["infiniband-ndr"].model_dump() | {"latency": 11.0}, "between 1e-09 and 10 seconds (got 11)"),
        (Cluster, CLUSTERS["h100-64"].model_dump() | {"nodes": 10**9}, "less than or equal to 100000000"),
        (Cluster, CLUSTERS["h100-64"].model_dump() | {"failures": 1e7}, "between 0 and 1e+06 a day (got 1e+07)"),
        (Cluster, CLUSTERS["h100-64"].model_dump() | {"restart": 1e9}, "between 0 and 1e+07 seconds (got 1e+09)"),
    ],
)
def test_impossible_figures_are_refused_in_one_line(kind, entry, message):
    with pytest.raises(SpecError) as found:
        kind.parse(entry)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_specs_survive_json():
    for kind, known in ((Machine, MACHINES), (Cluster, CLUSTERS)):
        for entry in known.values():
            assert kind.parse(json.loads(entry.model_dump_json())) == entry


def test_unknown_names_list_the_nearest():
    with pytest.raises(SpecError, match=r"unknown machine 'hgx-h10'; did you mean 'hgx-h100'\? \(nearest: hgx-h100"):
        load_machine("hgx-h10")
    with pytest.raises(SpecError, match="did you mean 'colossus'"):
        load_cluster("colosus")
    with pytest.raises(SpecError, match=r"nearest: .*; or give a \.toml file"):
        load_machine("qqqq")


def test_own_entries_win_and_may_name_shipped_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("LINDOS_CATALOG", str(tmp_path))
    for kind in ("accelerators", "machines", "clusters"):
        (tmp_path / kind).mkdir()
    own = tmp_path / "machines" / "mine.toml"
    own.write_text('[hgx-h100]\ntitle = "Mine"\naccelerator = "h200"\naccelerators = 4\n')
    mine = load_machine("hgx-h100")
    assert (mine.title, mine.devices) == ("Mine", 4)
    assert mine.accelerator == ACCELERATORS["h200"]
    # What ships and names the entry by its name gets the person's own too.
    assert load_cluster("h100-64").devices == 32
    assert load_machine("dgx-h100") == MACHINES["dgx-h100"]

    own.write_text('[mine]\naccelerator = "h201"\naccelerators = 4\n')
    with pytest.raises(SpecError, match=r"mine\.toml: mine: unknown accelerator 'h201' \(nearest: h20"):
        load_machine("mine")
    own.write_text("[mine]\naccelerators = 4\n[other]\nhost_flops = { fp12 = 3.0 }\n")
    with pytest.raises(SpecError, match="must be given together"):
        load_machine("mine")
    own.write_text('title = "no table"\n')
    with pytest.raises(SpecError, match="expected tables of fields"):
        load_machine("mine")


def test_machines_and_clusters_are_read_from_files(tmp_path):
    machine = tmp_path / "box.toml"
    machine.write_text('accelerator = "rtx-4090"\naccelerators = 3\n')
    assert (load_machine(machine).name, load_machine(machine).devices) == ("box", 3)
    cluster = tmp_path / "site.json"
    cluster.write_text(json.dumps({"machine": "rtx-4090-x4", "nodes": 5, "fabric": "ethernet-100", "ports": 1}))
    assert load_cluster(cluster).devices == 20
    cluster.write_text(json.dumps({"machine": "rtx-4090-x4", "nodes": 5, "fabric": "ethernet-101", "ports": 1}))
    with pytest.raises(SpecError, match="unknown fabric 'ethernet-101'"):
        load_cluster(cluster)
