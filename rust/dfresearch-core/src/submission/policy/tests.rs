#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

const ENTRY: &str = "def load_model(weights_path, num_classes=2):\n    pass\n";

fn check(source: &str) -> Result<ModelSource> {
    check_model_source(Path::new("model.py"), source, &["num_classes".to_owned()])
}

fn refusal(source: &str) -> String {
    check(source).expect_err(source).to_string()
}

#[test]
fn an_ordinary_model_passes() {
    let source = "\"\"\"Says eval() and import os.\"\"\"\nimport math\nimport torch\nimport torch.nn as nn\n\
        import torch.nn.functional as F, numpy as np\nfrom pathlib import Path\nfrom collections.abc import Sequence\n\
        from transformers import CLIPVisionConfig, CLIPVisionModel\nfrom safetensors.torch import load_file\n\n\
        class Net(nn.Module):\n    def __init__(self, compile=False):\n        super().__init__()\n        \
        self.locals = nn.Linear(2, 2)\n    def forward(self, x):\n        return self.locals(F.relu(x))\n\n\
        def load_model(weights_path: str, num_classes: int = 2) -> nn.Module:\n    net = Net(compile=True)\n    \
        net.load_state_dict(load_file(weights_path))\n    net.train(False)\n    return net\n";
    let mut source = source.replace("self.locals(", "self.head(");
    source.push_str("# exec(1)\n");
    assert_eq!(check(&source).unwrap().warnings, Vec::<String>::new());
}

#[test]
fn imports_that_are_not_allowed_are_named_with_their_line() {
    for (statement, module) in [
        ("import os", "os"),
        ("import torch, subprocess", "subprocess"),
        ("import os.path as p", "os.path"),
        ("from sys import argv", "sys"),
        ("from concurrent.futures import ThreadPoolExecutor", "concurrent.futures"),
        ("from google.cloud import storage", "google.cloud"),
        ("import dfresearch.models", "dfresearch.models"),
        ("from __future__ import annotations", "__future__"),
        ("import torch_xla", "torch_xla"),
    ] {
        let error = refusal(&format!("import math\n{statement}\n{ENTRY}"));
        let expected = format!(
            "model.py: line 2: `{statement}` imports {module:?}, which the competition does not allow"
        );
        assert!(error.starts_with(&expected), "{error}");
        assert!(error.contains("torchvision"), "{error}");
    }
    assert!(refusal(&format!("from . import net\n{ENTRY}")).contains("stands alone"));
    assert!(refusal(&format!("def f():\n    if True:\n        import pickle\n{ENTRY}")).contains("line 3"));
}

#[test]
fn refused_calls_are_found_wherever_they_stand() {
    for call in REFUSED_CALLS {
        let error =
            refusal(&format!("{ENTRY}class A:\n    def f(self):\n        return [{call}(x) for x in y]\n"));
        assert!(error.starts_with(&format!("model.py: line 5: `{call}(x)` calls {call}")), "{error}");
    }
}

#[test]
fn refused_members_are_found_through_aliases() {
    for source in [
        "import torch\n@torch.jit.script\ndef f(x):\n    return x\n",
        "import torch.jit as j\nf = j.script\n",
        "from torch import jit\nf = jit.trace(g, x)\n",
        "from torch.jit import script as s\n",
        "import torch as t\nt.utils.cpp_extension.load()\n",
        "from torch.utils.cpp_extension import load\n",
        "import numpy.ctypeslib\n",
        "import numpy as np\nnp.ctypeslib.ndpointer\n",
        "def f():\n    return x.jit.trace(1)\nimport torch as x\n",
    ] {
        let error = refusal(&format!("{source}{ENTRY}"));
        assert!(error.contains("which the competition refuses"), "{error}");
    }
    check(&format!("import torch\ntorch.jit.ignore\ntorch.jit.script_if_tracing\n{ENTRY}")).unwrap();
}

#[test]
fn methods_with_a_refused_name_are_warned_of() {
    let source = format!("{ENTRY}    model.eval()\n");
    assert_eq!(
        check(&source).unwrap().warnings,
        ["model.py: line 3: `.eval(` has the name of a refused call; write .train(False) to be safe"]
    );
}

#[test]
fn broken_python_is_named_with_its_line() {
    let error = refusal(&format!("import torch\n{ENTRY}def broken(:\n    pass\n"));
    assert!(error.contains("line 4") && error.contains("not valid Python"), "{error}");
}

#[test]
fn the_entry_point_must_be_callable_as_the_evaluator_calls_it() {
    for (source, expected) in [
        ("import torch\n", "defines no load_model"),
        ("class A:\n    def load_model(self, weights_path, num_classes=2): pass\n", "defines no load_model"),
        ("def load_model(): pass\n", "path as its first argument"),
        ("def load_model(*, weights_path, num_classes=2): pass\n", "path as its first argument"),
        ("def load_model(weights_path): pass\n", "accept the keyword num_classes"),
        ("def load_model(weights_path, num_classes, /): pass\n", "accept the keyword num_classes"),
        ("def load_model(weights_path, depth, num_classes=2): pass\n", "needs depth"),
    ] {
        let error = refusal(source);
        assert!(error.contains(expected), "{error}");
    }
    for source in [
        "def load_model(path, num_classes): pass\n",
        "def load_model(path: str, *, num_classes: int = 2, depth=3): pass\n",
        "def load_model(path, **kwargs): pass\n",
        "def load_model(path, *args: int, num_classes=2, **kwargs: int): pass\n",
        "import functools\n@functools.cache\ndef load_model(path, num_classes=2): pass\n",
    ] {
        check(source).expect(source);
    }
    let keywords = ["num_classes".to_owned(), "depth".to_owned()];
    let with_depth = |source| check_model_source(Path::new("model.py"), source, &keywords);
    with_depth("def load_model(path, depth, num_classes=2): pass\n").unwrap();
    assert!(with_depth(ENTRY).unwrap_err().to_string().contains("keyword depth"));
}
