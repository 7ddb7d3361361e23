//! Schemas of the tools as clients want them.

/// Takes out of a schema how wide its numbers are: JSON Schema knows no `uint64`, and some clients print a warning for each.
pub(super) fn plain_numbers(schema: &mut serde_json::Map<String, serde_json::Value>) {
    let is_width = |format: &str| {
        format
            .strip_prefix('u')
            .unwrap_or(format)
            .strip_prefix("int")
            .is_some_and(|bits| bits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if schema.get("format").and_then(|format| format.as_str()).is_some_and(is_width) {
        schema.remove("format");
    }
    for value in schema.values_mut() {
        plain_value(value);
    }
}

fn plain_value(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(object) => plain_numbers(object),
        serde_json::Value::Array(values) => values.iter_mut().for_each(plain_value),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_name_no_width_of_a_number() {
        let serde_json::Value::Object(mut schema) = serde_json::json!({
            "properties": { "a": { "type": "integer", "format": "uint64" }, "format": { "type": "string", "format": "date-time" } },
            "anyOf": [{ "format": "int32" }, { "format": "uint" }]
        }) else {
            panic!("an object")
        };
        plain_numbers(&mut schema);
        let left = serde_json::json!({
            "properties": { "a": { "type": "integer" }, "format": { "type": "string", "format": "date-time" } },
            "anyOf": [{}, {}]
        });
        assert_eq!(serde_json::Value::Object(schema), left);
    }
}
