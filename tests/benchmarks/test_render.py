import pytest


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (True, "yes"),
        (False, "no"),
        (12345, "12345"),
        (12345.6, "12346"),
        (545.4, "545"),
        (0.61345, "0.613"),
        (0.1, "0.1"),
        (1e-5, "1e-05"),
        (-2.5, "-2.5"),
        ("a | b", r"a \| b"),
    ],
)
def test_cell(render, value, expected):
    assert render.cell(value) == expected


def test_table(render):
    records = [
        {"network": "plain", "ms per step": 12.345},
        {"network": "deconvolved", "ms per step": 30, "note": "slow"},
    ]
    assert render.table(records).splitlines() == [
        "| network | ms per step | note |",
        "| --- | ---: | --- |",
        "| plain | 12.3 |  |",
        "| deconvolved | 30 | slow |",
    ]


def test_no_records(render):
    assert render.table([]) == "No records."


def test_main(render, results, tmp_path, capsys):
    paths = [tmp_path / f"{name}.json" for name in "ab"]
    for path in paths:
        command = f"python {path.stem}.py"
        results.write(path, f"Why {path.stem}?", command, [{"answer": 0.5}])
    render.main([str(path) for path in paths])
    heading_a, heading_b = (
        f"## Why {name}?\n\n```sh\npython {name}.py\n```\n" for name in "ab"
    )
    printed = capsys.readouterr().out
    assert printed.startswith(heading_a)
    assert heading_b in printed
    assert printed.count("| answer |\n| ---: |\n| 0.5 |") == 2
    environment = results.environment()
    backend = environment["backend"]
    assert f"\n{backend} {environment[backend]}, keras " in printed
    assert environment["CPU"] in printed


def test_missing_file(render, tmp_path, capsys):
    with pytest.raises(SystemExit):
        render.main([str(tmp_path / "no.json")])
    assert "found no" in capsys.readouterr().err
