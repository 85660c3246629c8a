//! Holds the JSON in the golden files and `docs/json.md` to each other: what is in the files is stated, and what is stated is in the files.

use std::collections::BTreeSet;
use std::fs;

use regex::Regex;
use serde_json::Value;

use crate::commands::{self, Kind};
use crate::folder;
use crate::page::{Field, Fields, Page, Shape, Type};

/// What the page states for machines that are not to be had here.
const NOT_TO_BE_SHOWN: [&str; 1] = [
    // a kernel that does not count what it drops
    "`posternd status`: captures: dropped: Null",
];

const PAGE: &str = include_str!("../../docs/json.md");

pub(crate) fn files_are_as_documented() {
    let page = Page::read(PAGE);
    let mut told = Vec::new();
    for (command, kind) in commands::all() {
        if kind == Kind::Json {
            let text = fs::read_to_string(folder().join(commands::file(&command, kind))).unwrap();
            let objects = objects(&text);
            assert!(!objects.is_empty(), "{command}: no JSON in its golden file");
            told.extend(objects.into_iter().map(|object| (command.clone(), object)));
        }
    }
    let mut faults = faults(&page, &told);
    for what in NOT_TO_BE_SHOWN {
        let fault = format!("{what} is stated, and in no golden file");
        match faults.iter().position(|one| *one == fault) {
            Some(at) => _ = faults.remove(at),
            None => faults.push(format!(
                "{what} is shown, or is not stated any more: it need not be listed here"
            )),
        }
    }
    assert!(
        faults.is_empty(),
        "docs/json.md and the golden files differ:\n  {}",
        faults.join("\n  ")
    );
}

/// The objects in a golden file, each on one line or indented, with a number in place of each masked one.
fn objects(text: &str) -> Vec<Value> {
    let number = Regex::new(r#"(":\s*)<[a-z-]+>"#).unwrap();
    let value = |json: &str| {
        serde_json::from_str(&number.replace_all(json, "${1}0"))
            .unwrap_or_else(|why| panic!("{why} in {json}"))
    };
    let (mut found, mut open) = (Vec::new(), String::new());
    for line in text.lines() {
        let line = line.strip_prefix(Kind::ASIDE).unwrap_or(line);
        match (open.is_empty(), line) {
            (true, line) if line.starts_with("{\"") => found.push(value(line)),
            (true, "{") => open.push('{'),
            (true, _) => {}
            (false, line) => {
                open.push_str(line);
                if line == "}" {
                    found.push(value(&std::mem::take(&mut open)));
                }
            }
        }
    }
    assert!(open.is_empty(), "an object has no end: {open}");
    found
}

/// What is not as the page states it, and what it states that nothing shows.
fn faults(page: &Page, told: &[(String, Value)]) -> Vec<String> {
    let (mut faults, mut seen) = (Vec::new(), BTreeSet::new());
    for (command, object) in told {
        let shapes = page
            .shapes
            .iter()
            .filter(|shape| shape.commands.contains(command));
        let tried = shapes.map(|shape| {
            let mut look = Look {
                page,
                faults: Vec::new(),
                seen: BTreeSet::new(),
            };
            look.at_fields(&shape.heading, object, &shape.fields);
            if object["version"] != page.version {
                look.faults.push(format!(
                    "{}: its version is not {}",
                    shape.heading, page.version
                ));
            }
            look
        });
        match tried.min_by_key(|look| look.faults.len()) {
            None => faults.push(format!("{command} is not in the page")),
            Some(look) if look.faults.is_empty() => seen.extend(look.seen),
            Some(look) => faults.extend(look.faults),
        }
    }
    for shape in &page.shapes {
        let stated = stated(shape);
        faults.extend(
            stated
                .difference(&seen)
                .map(|what| format!("{what} is stated, and in no golden file")),
        );
    }
    let known: BTreeSet<String> = commands::all()
        .into_iter()
        .map(|(command, _)| command)
        .collect();
    let named = page.shapes.iter().flat_map(|shape| &shape.commands);
    faults.extend(
        named
            .filter(|command| !known.contains(*command))
            .map(|command| format!("there is no command {command}")),
    );
    faults
}

/// One object against one table.
struct Look<'a> {
    page: &'a Page,
    faults: Vec<String>,
    /// Which field was there as which type.
    seen: BTreeSet<String>,
}

impl Look<'_> {
    fn at_fields(&mut self, of: &str, value: &Value, fields: &Fields) {
        let Value::Object(object) = value else {
            return self.faults.push(format!("{of}: is no object: {value}"));
        };
        for (name, value) in object {
            match fields.get(name) {
                None => self.faults.push(format!("{of}: {name} is not stated")),
                Some(field) => self.at_field(&format!("{of}: {name}"), value, field),
            }
        }
        let missing = fields
            .iter()
            .filter(|(name, field)| !field.may_be_absent && !object.contains_key(*name));
        self.faults
            .extend(missing.map(|(name, _)| format!("{of}: {name} is stated, and not there")));
    }

    fn at_field(&mut self, of: &str, value: &Value, field: &Field) {
        match field.types.iter().find(|kind| fits(kind, value)) {
            None => self
                .faults
                .push(format!("{of}: {value} is none of {:?}", field.types)),
            Some(kind) => self.at_value(of, kind, value, field),
        }
    }

    fn at_value(&mut self, of: &str, kind: &Type, value: &Value, field: &Field) {
        match (kind, value) {
            // What was in none of its lists was not seen.
            (Type::ListOf(inner), Value::Array(items)) => {
                for item in items {
                    let as_said = Field {
                        types: vec![(**inner).clone()],
                        ..field.clone()
                    };
                    self.at_field(of, item, &as_said);
                }
                if !items.is_empty() {
                    self.see(of, kind);
                }
            }
            (Type::ObjectOf(inner), Value::Object(object)) => {
                let wrong = object.values().find(|value| !fits(inner, value));
                self.faults
                    .extend(wrong.map(|value| format!("{of}: {value} is not {inner:?}")));
                if !object.is_empty() {
                    self.see(of, kind);
                }
            }
            (Type::Part(name), value) => {
                self.see(of, kind);
                let part = self.page.part(name);
                self.at_fields(&part.heading, value, &part.fields);
            }
            (Type::Object, value) => {
                self.see(of, kind);
                self.at_fields(of, value, &field.inside);
            }
            _ => self.see(of, kind),
        }
    }

    fn see(&mut self, of: &str, kind: &Type) {
        self.seen.insert(format!("{of}: {kind:?}"));
    }
}

fn fits(kind: &Type, value: &Value) -> bool {
    match kind {
        Type::Text => value.is_string(),
        Type::Number => value.is_number(),
        Type::Boolean => value.is_boolean(),
        Type::Null => value.is_null(),
        Type::Object | Type::ObjectOf(_) | Type::Part(_) => value.is_object(),
        Type::ListOf(_) => value.is_array(),
    }
}

/// Every field of a table as every type that it may be, told as [`Look::see`] tells it.
fn stated(shape: &Shape) -> BTreeSet<String> {
    fn add(of: &str, fields: &Fields, found: &mut BTreeSet<String>) {
        for (name, field) in fields {
            let of = format!("{of}: {name}");
            found.extend(field.types.iter().map(|kind| format!("{of}: {kind:?}")));
            add(&of, &field.inside, found);
        }
    }
    let mut found = BTreeSet::new();
    add(&shape.heading, &shape.fields, &mut found);
    found
}

/// The check itself, with a page and objects that differ in each way in which they can.
pub(crate) fn faults_are_found() {
    let page = Page::read(
        "`version` is 1. It\n\n## `posternd close`\n\n| field | type | is |\n|---|---|---|\n| `version` | number | 1 |\n| `a` | text or null | x |\n\
         | `b` | list of [part](#part), or absent | x |\n| `c` | object or absent | x |\n| … `d` | boolean | x |\n\n## Parts\n\n### part\n\n\
         | field | type | is |\n|---|---|---|\n| `e` | number | x |\n",
    );
    let with = |objects: &[&str]| {
        let told: Vec<_> = objects
            .iter()
            .map(|text| {
                (
                    "posternd close".to_owned(),
                    serde_json::from_str(text).unwrap(),
                )
            })
            .collect();
        faults(&page, &told).join("\n")
    };
    let all = r#"{"version": 1, "a": "x", "b": [{"e": 1}], "c": {"d": true}}"#;
    let null = r#"{"version": 1, "a": null}"#;
    assert_eq!(with(&[all, null]), "");
    for (objects, fault) in [
        (&[all][..], "a: Null is stated, and in no golden file"),
        (&[null], "c: d: Boolean is stated, and in no golden file"),
        (
            &[all, null, r#"{"version": 1}"#],
            "a is stated, and not there",
        ),
        (
            &[all, null, r#"{"version": 2, "a": null}"#],
            "its version is not 1",
        ),
        (
            &[all, null, r#"{"version": 1, "a": 7}"#],
            "7 is none of [Text, Null]",
        ),
        (
            &[all, null, r#"{"version": 1, "a": null, "f": 1}"#],
            "f is not stated",
        ),
        (
            &[all, null, r#"{"version": 1, "a": null, "b": [{"e": "1"}]}"#],
            "part: e: \"1\" is none of [Number]",
        ),
        (
            &[all, null, r#"{"version": 1, "a": null, "c": {}}"#],
            "c: d is stated, and not there",
        ),
    ] {
        assert!(
            with(objects).contains(fault),
            "{fault} is not in: {}",
            with(objects)
        );
    }
    let unknown = faults(
        &page,
        &[(
            "posternd status".to_owned(),
            serde_json::json!({ "version": 1 }),
        )],
    );
    assert!(
        unknown.contains(&"posternd status is not in the page".to_owned()),
        "{unknown:?}"
    );
    assert_eq!(
        objects("a$ b --json\nstderr: {\"a\":<ms>}\n{\n  \"b\": <epoch-ms>\n}\nno JSON {\n").len(),
        2
    );
}
