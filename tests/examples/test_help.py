import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    ["finetune", "train_cifar", "train_cityscapes", "train_imagenet"],
)
def test_help(name, capsys):
    script = importlib.import_module(name)
    with pytest.raises(SystemExit) as exit_:
        script.main(["--help"])
    assert exit_.value.code == 0
    printed = capsys.readouterr().out
    assert f"python examples/{name}.py" in printed
    assert "--data-dir" in printed
    assert "--output" in printed
