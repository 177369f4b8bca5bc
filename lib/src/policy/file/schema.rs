//! The JSON schema, made of the types that the file is read by.

use serde_json::Value;

/// Takes away that a field may be null: in a policy it is left out.
fn without_null(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Array(types)) = fields.get_mut("type") {
                types.retain(|name| name != "null");
                if let [one] = types.as_slice() {
                    let one = one.clone();
                    fields.insert("type".to_owned(), one);
                }
            }
            if let Some(Value::Array(choices)) = fields.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    fields.remove("anyOf");
                    fields.extend(only);
                }
            }
            fields.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

#[test]
fn the_stored_schema_is_that_of_the_types() {
    let mut schema = schemars::schema_for!(super::types::Document).to_value();
    without_null(&mut schema);
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    assert!(!text.contains("null"), "{text}");
    for place in ["src/policy/file/policy.schema.json", "../docs/policy.schema.json"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
        if std::env::var_os("WEIGHTSEAL_UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        // The order of fields depends on what else is built with serde_json, hence no comparison of texts.
        let stored: Value = std::fs::read(&path)
            .ok()
            .and_then(|stored| serde_json::from_slice(&stored).ok())
            .unwrap_or_default();
        assert!(stored == schema, "run the tests once with WEIGHTSEAL_UPDATE=1 to write {}", path.display());
    }
}
