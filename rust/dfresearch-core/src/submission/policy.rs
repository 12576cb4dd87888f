//! What a `model.py` may contain for the competition to run it.
//!
//! The rules are those of the competition's own check: which modules may be imported, which
//! calls and members are refused, and a `load_model(weights_path, num_classes=2)` at the top
//! level. This is a forecast of that check, not a sandbox.

use std::collections::HashMap;
use std::path::Path;

use tree_sitter::{Node, Parser};

use super::files::refused;
use crate::error::Result;

/// Modules that may be imported, their submodules included.
const ALLOWED_MODULES: [&str; 24] = [
    "torch",
    "torchvision",
    "torchaudio",
    "transformers",
    "timm",
    "einops",
    "safetensors",
    "flash_attn",
    "PIL",
    "cv2",
    "skimage",
    "decord",
    "numpy",
    "scipy",
    "fvcore",
    "ultralytics",
    "math",
    "functools",
    "typing",
    "collections",
    "dataclasses",
    "enum",
    "abc",
    "pathlib",
];

/// Builtins that may not be called.
const REFUSED_CALLS: [&str; 8] =
    ["eval", "exec", "compile", "__import__", "getattr", "setattr", "globals", "locals"];

/// Members of allowed modules that may not be used.
const REFUSED_MEMBERS: [&str; 4] =
    ["torch.utils.cpp_extension", "torch.jit.script", "torch.jit.trace", "numpy.ctypeslib"];

/// The function that the evaluator calls.
const ENTRY_POINT: &str = "load_model";

/// What the check of an acceptable `model.py` has to add.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelSource {
    /// Constructs that a stricter reading of the rules would refuse, each with file and line.
    pub warnings: Vec<String>,
}

/// Checks the text of a `model.py` against the competition's rules; `path` is named in errors.
///
/// `keywords` are the keys under `model:` in the configuration, which `load_model` gets.
///
/// # Errors
/// [`crate::Error::Submission`] naming the file, the line, the construct and what is allowed instead.
pub fn check_model_source(path: &Path, source: &str, keywords: &[String]) -> Result<ModelSource> {
    let mut parser = Parser::new();
    let tree = parser
        .set_language(&tree_sitter_python::LANGUAGE.into())
        .ok()
        .and_then(|()| parser.parse(source, None))
        .ok_or_else(|| refused(path, "the Python parser gave up"))?;
    let root = tree.root_node();
    let mut check = Check { path, source, names: HashMap::new(), warnings: Vec::new() };
    let nodes = descendants(root);
    if root.has_error() {
        let broken = nodes.iter().find(|node| node.is_error() || node.is_missing()).unwrap_or(&root);
        return check.refuse(*broken, "is not valid Python");
    }
    // Imports first: a function may use a name that is imported further down.
    for &node in &nodes {
        check.import(node)?;
    }
    for &node in &nodes {
        check.use_of_names(node)?;
    }
    check.entry_point(root, keywords)?;
    Ok(ModelSource { warnings: check.warnings })
}

struct Check<'a> {
    path: &'a Path,
    source: &'a str,
    /// What a name stands for after the imports: `nn` for `torch.nn`.
    names: HashMap<String, String>,
    warnings: Vec<String>,
}

impl<'a> Check<'a> {
    fn text(&self, node: Node<'_>) -> &'a str {
        self.source.get(node.byte_range()).unwrap_or_default()
    }

    fn refuse<T>(&self, node: Node<'_>, reason: &str) -> Result<T> {
        let construct = self.text(node).lines().next().unwrap_or_default().trim();
        let construct = if construct.is_empty() { String::new() } else { format!("`{construct}` ") };
        Err(refused(self.path, format!("line {}: {construct}{reason}", line_of(node))))
    }

    fn import(&mut self, node: Node<'_>) -> Result<()> {
        match node.kind() {
            "import_statement" => {
                for name in children_named(node, "name") {
                    let (module, alias) = self.imported(name);
                    self.check_module(node, &module)?;
                    match alias {
                        Some(alias) => self.names.insert(alias, module),
                        None => {
                            self.names.insert(first_part(&module).to_owned(), first_part(&module).to_owned())
                        }
                    };
                }
                Ok(())
            }
            "import_from_statement" => {
                let module =
                    node.child_by_field_name("module_name").map_or("", |module| self.text(module)).to_owned();
                if module.starts_with('.') {
                    return self.refuse(
                        node,
                        "imports from a package: model.py stands alone, without files beside it",
                    );
                }
                self.check_module(node, &module)?;
                for name in children_named(node, "name") {
                    let (member, alias) = self.imported(name);
                    let full = format!("{module}.{member}");
                    self.check_member(node, &full)?;
                    self.names.insert(alias.unwrap_or(member), full);
                }
                Ok(())
            }
            "future_import_statement" => self.check_module(node, "__future__"),
            _ => Ok(()),
        }
    }

    /// `(name, alias)` of `name` or `name as alias`.
    fn imported(&self, node: Node<'_>) -> (String, Option<String>) {
        let field =
            |field: &str| node.child_by_field_name(field).map(|child| without_spaces(self.text(child)));
        match node.kind() {
            "aliased_import" => (field("name").unwrap_or_default(), field("alias")),
            _ => (without_spaces(self.text(node)), None),
        }
    }

    fn check_module(&self, statement: Node<'_>, module: &str) -> Result<()> {
        let root = first_part(module);
        if !ALLOWED_MODULES.contains(&root) {
            let allowed = ALLOWED_MODULES.join(", ");
            let reason =
                format!("imports {module:?}, which the competition does not allow; allowed are {allowed}");
            return self.refuse(statement, &reason);
        }
        self.check_member(statement, module)
    }

    fn check_member(&self, node: Node<'_>, full: &str) -> Result<()> {
        let below = |member: &str| {
            full.strip_prefix(member).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        match REFUSED_MEMBERS.into_iter().find(|member| below(member)) {
            Some(member) => self.refuse(node, &format!("uses {member}, which the competition refuses")),
            None => Ok(()),
        }
    }

    fn use_of_names(&mut self, node: Node<'_>) -> Result<()> {
        match node.kind() {
            "attribute" => match self.dotted(node) {
                Some(full) => self.check_member(node, &full),
                None => Ok(()),
            },
            "call" => self.call(node),
            _ => Ok(()),
        }
    }

    fn call(&mut self, node: Node<'_>) -> Result<()> {
        let Some(function) = node.child_by_field_name("function") else { return Ok(()) };
        let (name, is_method) = match function.kind() {
            "identifier" => (self.text(function), false),
            "attribute" => {
                (function.child_by_field_name("attribute").map_or("", |name| self.text(name)), true)
            }
            _ => return Ok(()),
        };
        if !REFUSED_CALLS.contains(&name) {
            return Ok(());
        }
        if !is_method {
            return self.refuse(node, &format!("calls {name}, which the competition refuses"));
        }
        let instead = if name == "eval" { "; write .train(False) to be safe" } else { "" };
        self.warnings.push(format!(
            "{}: line {}: `.{name}(` has the name of a refused call{instead}",
            self.path.display(),
            line_of(node)
        ));
        Ok(())
    }

    /// The full dotted path of an attribute whose first name was imported.
    fn dotted(&self, node: Node<'_>) -> Option<String> {
        match node.kind() {
            "identifier" => self.names.get(self.text(node)).cloned(),
            "attribute" => {
                let object = self.dotted(node.child_by_field_name("object")?)?;
                Some(format!("{object}.{}", self.text(node.child_by_field_name("attribute")?)))
            }
            _ => None,
        }
    }

    fn entry_point(&self, root: Node<'_>, keywords: &[String]) -> Result<()> {
        let mut cursor = root.walk();
        let functions = root.named_children(&mut cursor).filter_map(|node| match node.kind() {
            "function_definition" => Some(node),
            "decorated_definition" => node.child_by_field_name("definition"),
            _ => None,
        });
        let named = |node: &Node<'_>| {
            node.child_by_field_name("name").is_some_and(|name| self.text(name) == ENTRY_POINT)
        };
        // The last definition is the one that counts.
        let Some(function) = functions.filter(named).last() else {
            return Err(refused(
                self.path,
                "defines no load_model(weights_path, num_classes=2) at its top level, which the evaluator calls",
            ));
        };
        self.signature(function, keywords)
    }

    /// The evaluator calls `load_model(weights_path, **keywords)`.
    fn signature(&self, function: Node<'_>, keywords: &[String]) -> Result<()> {
        let parameters = self.parameters(function);
        let takes_path = parameters.first().is_some_and(|first| first.positional || first.kind == "list");
        if !takes_path {
            return self.refuse(function, "must take the weights' path as its first argument");
        }
        let takes_any = parameters.iter().any(|parameter| parameter.kind == "dictionary");
        let mut given: Vec<&str> = keywords.iter().map(String::as_str).collect();
        if !given.contains(&"num_classes") {
            given.push("num_classes");
        }
        let unknown = |name: &&&str| {
            !parameters.iter().skip(1).any(|parameter| parameter.named && parameter.name == **name)
        };
        if let Some(name) = given.iter().find(unknown).filter(|_| !takes_any) {
            return self.refuse(
                function,
                &format!("must accept the keyword {name}, which the configuration gives it"),
            );
        }
        let missing = parameters.iter().skip(1).find(|parameter| {
            parameter.kind.is_empty() && !parameter.has_default && !given.contains(&parameter.name)
        });
        match missing {
            Some(parameter) => {
                let reason = format!(
                    "needs {}, which the evaluator does not give: set a default or put it under model: in the configuration",
                    parameter.name
                );
                self.refuse(function, &reason)
            }
            None => Ok(()),
        }
    }

    fn parameters(&self, function: Node<'_>) -> Vec<Parameter<'a>> {
        let Some(list) = function.child_by_field_name("parameters") else { return Vec::new() };
        let mut cursor = list.walk();
        let mut parameters: Vec<Parameter<'a>> = Vec::new();
        let mut positional = true;
        for node in list.named_children(&mut cursor) {
            let name = node.child_by_field_name("name").unwrap_or(node);
            let inner =
                if node.kind() == "typed_parameter" { node.named_child(0).unwrap_or(node) } else { node };
            match (node.kind(), inner.kind()) {
                ("keyword_separator", _) => positional = false,
                ("positional_separator", _) => {
                    parameters.iter_mut().for_each(|parameter| parameter.named = false)
                }
                (_, "list_splat_pattern") => {
                    parameters.push(Parameter {
                        name: "",
                        kind: "list",
                        positional,
                        named: false,
                        has_default: true,
                    });
                    positional = false;
                }
                (_, "dictionary_splat_pattern") => {
                    parameters.push(Parameter {
                        name: "",
                        kind: "dictionary",
                        positional: false,
                        named: false,
                        has_default: true,
                    });
                }
                ("default_parameter" | "typed_default_parameter", _) => {
                    parameters.push(Parameter {
                        name: self.text(name),
                        kind: "",
                        positional,
                        named: true,
                        has_default: true,
                    });
                }
                (_, "identifier") => {
                    parameters.push(Parameter {
                        name: self.text(inner),
                        kind: "",
                        positional,
                        named: true,
                        has_default: false,
                    });
                }
                _ => {}
            }
        }
        parameters
    }
}

/// One parameter of `load_model`; `kind` is empty for an ordinary one.
struct Parameter<'a> {
    name: &'a str,
    kind: &'static str,
    positional: bool,
    named: bool,
    has_default: bool,
}

/// All nodes below and with `root`, in the order of the text.
fn descendants(root: Node<'_>) -> Vec<Node<'_>> {
    let mut nodes = Vec::new();
    let mut pending = vec![root];
    while let Some(node) = pending.pop() {
        nodes.push(node);
        let mut cursor = node.walk();
        let children: Vec<Node<'_>> = node.children(&mut cursor).collect();
        pending.extend(children.into_iter().rev());
    }
    nodes
}

fn children_named<'tree>(node: Node<'tree>, field: &str) -> Vec<Node<'tree>> {
    let mut cursor = node.walk();
    node.children_by_field_name(field, &mut cursor).collect()
}

fn line_of(node: Node<'_>) -> usize {
    node.start_position().row + 1
}

fn first_part(module: &str) -> &str {
    module.split('.').next().unwrap_or_default()
}

fn without_spaces(text: &str) -> String {
    text.split_whitespace().collect()
}

#[cfg(test)]
mod tests;
