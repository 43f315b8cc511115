"""One session of a new user: every command once, each reading what the ones before it wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import LENGTH, invoke, make_world

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

SESSION = """
init-model -m model.pt -l 40 --target-names names.txt
explain -m model.pt --mutate-center 9
precompute -m model.pt -o plan.h5
run -m model.pt -b peaks.bed -g genome.fa --targets open,2 --dry-run
run -m model.pt -b peaks.bed -g genome.fa --targets open,2 -o whole.h5
run -m model.pt -b peaks.bed -g genome.fa --targets open,2 --shard 1/2 -o part.1.h5
run -m model.pt -b peaks.bed -g genome.fa --targets open,2 --shard 2/2 -o part.2.h5
merge part.1.h5 part.2.h5 -o merged.h5
info merged.h5
plot merged.h5 --region chr1:145-155 --target open -o one.png
report merged.h5 -o report.html
export merged.h5 --to tsv -o scores.tsv
variants -m model.pt --vcf calls.vcf -g genome.fa -o effects.tsv
bench -m model.pt -f seqs.fa --targets open --backends windowed --seconds 0.05 --rounds 1 -o bench
"""


def test_a_session_of_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_world(tmp_path, records=2)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("open\nclosed\nquiet\n")
    (tmp_path / "peaks.bed").write_text("chr1\t149\t150\tp0\t0\t+\nchr2\t50\t90\tp1\t0\t-\n")
    base = (tmp_path / "genome.fa").read_text().splitlines()[1][149]
    other = "A" if base != "A" else "C"
    head = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (tmp_path / "calls.vcf").write_text(f"{head}chr1\t150\trs1\t{base}\t{other}\t.\t.\t.\n")
    told = {}
    for line in SESSION.split("\n")[1:-1]:
        code, out, err = invoke(line.split(), capsys)
        assert code == 0, (line, out, err)
        assert "warning" not in err, (line, err)
        told[line.split()[0]] = out + err
    assert f"4 letters x {LENGTH} positions -> 3 targets" in told["explain"]
    assert "open, quiet" in told["info"]
    lines = [line.split("\t") for line in (tmp_path / "scores.tsv").read_text().splitlines()]
    found = {(row[0], row[1], row[3]): row[6] for row in lines[1:]}
    effect = (tmp_path / "effects.tsv").read_text().splitlines()[1].split("\t")
    assert float(found["chr1", "149", other]) == pytest.approx(float(effect[6]), rel=1e-4)
    assert (tmp_path / "one.png").stat().st_size > 5000


@pytest.mark.parametrize("backend", ["auto", "naive"])
def test_a_run_loads_no_compiler_and_looks_for_no_garbage_in_torch(
    tmp_path: Path, backend: str
) -> None:
    """What torch's tracer, its counter and FakeTensorMode load takes longer than a small run."""
    world = make_world(tmp_path, records=2)
    code = (
        "import gc, sys\n"
        "from yuzu_cli.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    heavy = ('torch._dynamo', 'sympy', 'torch._inductor', 'triton')\n"
        "    print(gc.isenabled(), gc.get_freeze_count() > 4 * len(gc.get_objects()), "
        "*[n for n in heavy if n in sys.modules])"
    )
    line = ["run", "-m", world.model, "-f", world.seqs, "-o", str(tmp_path / "o.h5"), "-q"]
    command = [sys.executable, "-c", code, *line, "--backend", backend]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "True True"), done.stderr
