//! What kubeconform holds manifests to: schemas out of our own API server.

#![allow(clippy::expect_used, reason = "only tests call this, and a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::io;

use serde_json::{Map, Value, json};

use super::control_plane::ControlPlane;
use crate::keeper::KeptFolder;
use crate::run::{Ended, LIMIT, capture_within};

/// Where a description refers to another.
const DEFINITIONS: &str = "#/definitions/";

/// Schemas of all kinds that an API server knew when they were made. A field that is not in them is an error.
#[derive(Debug)]
pub struct Schemas<'a> {
    cluster: &'a ControlPlane,
    folder: KeptFolder,
}

impl<'a> Schemas<'a> {
    /// Those of this API server, with the definitions that were installed.
    ///
    /// # Panics
    /// It does not describe itself.
    pub fn of(cluster: &'a ControlPlane) -> Schemas<'a> {
        let described = cluster.admin().kubectl(&["get", "--raw", "/openapi/v2"]).expect_code(0);
        let described: Value = serde_json::from_slice(&described.stdout).expect("JSON");
        let folder = KeptFolder::new().expect("a folder");
        write(&described, &folder).expect("schemas can be written");
        Schemas { cluster, folder }
    }

    /// Runs kubeconform on YAML documents: exit code 0 if each is as its kind wants it, 1 and a line for each that is
    /// not.
    ///
    /// # Panics
    /// It cannot be run.
    pub fn check(&self, documents: &str) -> Ended {
        let mut kubeconform = self.cluster.kubeconform();
        let location = self.folder.path().join("{{.ResourceKind}}{{.KindSuffix}}.json");
        kubeconform.args(["-strict", "-verbose", "-summary", "-schema-location"]).arg(location).arg("-");
        capture_within(&mut kubeconform, documents.as_bytes(), LIMIT).expect("kubeconform runs")
    }
}

/// Writes a file for each kind, with everything it refers to.
fn write(described: &Value, folder: &KeptFolder) -> io::Result<()> {
    let none = Map::new();
    let definitions = described.get("definitions").and_then(Value::as_object).unwrap_or(&none);
    let strict: Map<String, Value> =
        definitions.iter().map(|(name, schema)| (name.clone(), strict(name, schema))).collect();
    for (name, schema) in definitions {
        let kinds = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
        // What many groups share, like the options of a deletion, is no manifest.
        let Some([kind]) = kinds.map(Vec::as_slice) else { continue };
        let field = |name: &str| kind.get(name).and_then(Value::as_str).unwrap_or_default();
        let group = field("group").split('.').next().unwrap_or_default();
        let parts = [field("kind"), group, field("version")];
        let parts: Vec<String> =
            parts.iter().filter(|part| !part.is_empty()).map(|part| part.to_lowercase()).collect();
        let mut needed = BTreeSet::new();
        gather(name, &strict, &mut needed);
        let needed: Map<String, Value> = needed
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), strict.get(name)?.clone())))
            .collect();
        let schema = json!({ "$ref": format!("{DEFINITIONS}{name}"), "definitions": needed });
        fs::write(folder.path().join(format!("{}.json", parts.join("-"))), schema.to_string())?;
    }
    Ok(())
}

/// The name and all names that its schema refers to, directly or not.
fn gather<'a>(name: &'a str, schemas: &'a Map<String, Value>, found: &mut BTreeSet<&'a str>) {
    if !found.insert(name) {
        return;
    }
    let mut values: Vec<&Value> = schemas.get(name).into_iter().collect();
    while let Some(value) = values.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(name) = reference(fields) {
                    gather(name, schemas, found);
                }
                values.extend(fields.values());
            }
            Value::Array(items) => values.extend(items),
            _ => {}
        }
    }
}

fn reference(fields: &Map<String, Value>) -> Option<&str> {
    fields.get("$ref")?.as_str()?.strip_prefix(DEFINITIONS)
}

/// A schema that knows all fields, and numbers where the API server takes them for texts.
fn strict(name: &str, schema: &Value) -> Value {
    if name.ends_with(".resource.Quantity") || name.ends_with(".IntOrString") {
        return json!({ "type": ["string", "number"] });
    }
    tightened(schema)
}

fn tightened(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let either = fields.contains_key("x-kubernetes-int-or-string");
            let open = fields.contains_key("x-kubernetes-preserve-unknown-fields");
            let mut kept: Map<String, Value> = fields
                .iter()
                .filter(|(key, value)| *key != "format" || is_field(value))
                .map(|(key, value)| (key.clone(), tightened(value)))
                .collect();
            if either {
                kept.insert("type".to_owned(), json!(["string", "number"]));
            }
            let word = |name: &str| kept.get(name).is_some_and(|value| !is_field(value));
            let closed = kept.get("properties").is_some_and(Value::is_object) && word("type");
            if closed && !open && !kept.contains_key("additionalProperties") {
                kept.insert("additionalProperties".to_owned(), json!(false));
            }
            Value::Object(kept)
        }
        Value::Array(items) => Value::Array(items.iter().map(tightened).collect()),
        other => other.clone(),
    }
}

/// Whether this is the schema of a field, which may be named as a word of schemas is.
fn is_field(value: &Value) -> bool {
    value.is_object()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::or_skip;

    const GOOD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {containers: [{name: a, image: b, resources: {limits: {cpu: 1, memory: 1Gi}}}]}
---
apiVersion: serving.kserve.io/v1alpha1
kind: ClusterStorageContainer
metadata: {name: a}
spec:
  container: {name: storage-initializer, image: b}
  supportedUriFormats: [{prefix: 's3://'}]
---
apiVersion: ray.io/v1
kind: RayCluster
metadata: {name: a}
spec:
  headGroupSpec: {rayStartParams: {}, template: {spec: {containers: [{name: a, image: b}]}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: a}
spec: {policyName: a, validationActions: [Deny]}
";

    #[test]
    fn manifests_are_held_to_what_the_api_server_knows() {
        let Some(cluster) = or_skip(ControlPlane::shared()) else { return };
        let Some(()) = or_skip(cluster.install_definitions()) else { return };
        let schemas = Schemas::of(cluster);
        schemas.check(GOOD).expect_code(0);
        cluster.admin().with_input(&["apply", "--dry-run=server", "--filename=-"], GOOD).expect_code(0);
        for (good, bad) in [
            ("image: b, resources", "imagine: b, resources"),
            ("cpu: 1,", "cpu: [1],"),
            ("supportedUriFormats", "supportedFormats"),
            ("rayStartParams: {}", "rayStartParams: 1"),
            ("validationActions: [Deny]", "validationActions: Deny"),
            ("kind: RayCluster", "kind: RayCloister"),
        ] {
            assert!(GOOD.contains(good));
            let ended = schemas.check(&GOOD.replace(good, bad)).expect_code(1);
            assert!(ended.out().contains("Valid: 3"), "{bad}: {ended}");
        }
    }
}
