//! `docs/json.md` as it is read: for each command, and for each part that recurs, the fields and their types.

use std::collections::BTreeMap;

/// What a value may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    Number,
    Boolean,
    Null,
    /// With the fields that are told below it.
    Object,
    /// Keys are not told.
    ObjectOf(Box<Type>),
    ListOf(Box<Type>),
    /// A part that recurs.
    Part(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) types: Vec<Type>,
    pub(crate) may_be_absent: bool,
    pub(crate) inside: Fields,
}

/// By name.
pub(crate) type Fields = BTreeMap<String, Field>;

/// A table of the page and what it is of.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The heading, by which faults are told.
    pub(crate) heading: String,
    /// `posternd user add`; none for a part that recurs.
    pub(crate) commands: Vec<String>,
    pub(crate) fields: Fields,
}

#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) version: u64,
    pub(crate) shapes: Vec<Shape>,
}

impl Page {
    pub(crate) fn read(text: &str) -> Self {
        let version = text
            .split("`version` is ")
            .nth(1)
            .and_then(|rest| rest.split('.').next()?.parse().ok());
        let mut shapes = Vec::new();
        for section in text
            .split("\n## ")
            .skip(1)
            .flat_map(|part| part.split("\n### "))
        {
            let heading = section.lines().next().unwrap_or_default();
            let rows: Vec<&str> = section
                .lines()
                .filter(|line| line.starts_with("| "))
                .collect();
            let [head, rows @ ..] = &rows[..] else {
                continue;
            };
            assert_eq!(*head, "| field | type | is |", "{heading}");
            shapes.push(Shape {
                heading: heading.to_owned(),
                commands: commands(heading),
                fields: fields(rows),
            });
        }
        Self {
            version: version.expect("the page states the version"),
            shapes,
        }
    }

    pub(crate) fn part(&self, name: &str) -> &Shape {
        let found = self
            .shapes
            .iter()
            .find(|shape| shape.commands.is_empty() && shape.heading == name);
        found.unwrap_or_else(|| panic!("there is no part {name}"))
    }
}

/// The commands that a heading names, without their options.
fn commands(heading: &str) -> Vec<String> {
    let named = heading
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|words| words.starts_with("postern"));
    named
        .map(|words| {
            words
                .split(' ')
                .take_while(|word| !word.starts_with('-'))
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

fn fields(rows: &[&str]) -> Fields {
    let (mut fields, mut last) = (Fields::new(), Vec::<String>::new());
    for row in rows {
        let cells: Vec<&str> = row
            .trim_matches('|')
            .splitn(3, " | ")
            .map(str::trim)
            .collect();
        let [names, kind, meaning] = cells[..] else {
            panic!("{row}")
        };
        assert!(!meaning.is_empty(), "{row}");
        let (is_inside, names) = names
            .strip_prefix("… ")
            .map_or((false, names), |rest| (true, rest));
        let names: Vec<String> = names
            .split(", ")
            .map(|name| name.trim_matches('`').to_owned())
            .collect();
        for name in &names {
            let of = if is_inside { last.clone() } else { Vec::new() };
            let into: Vec<&mut Fields> = if is_inside {
                fields
                    .iter_mut()
                    .filter(|(name, _)| of.contains(name))
                    .map(|(_, field)| &mut field.inside)
                    .collect()
            } else {
                vec![&mut fields]
            };
            for fields in into {
                assert!(
                    fields.insert(name.clone(), field(kind)).is_none(),
                    "{name} twice"
                );
            }
        }
        if !is_inside {
            last = names;
        }
    }
    fields
}

fn field(kind: &str) -> Field {
    let mut field = Field {
        types: Vec::new(),
        may_be_absent: false,
        inside: Fields::new(),
    };
    for word in kind.split(" or ") {
        match word {
            "absent" => field.may_be_absent = true,
            word => field.types.push(one(word.trim_end_matches(','))),
        }
    }
    field
}

fn one(word: &str) -> Type {
    match word {
        "text" => Type::Text,
        "number" | "numbers" => Type::Number,
        "boolean" => Type::Boolean,
        "null" => Type::Null,
        "object" | "objects" => Type::Object,
        word => match (
            word.strip_prefix("list of "),
            word.strip_prefix("object of "),
            word.strip_prefix('['),
        ) {
            (Some(of), _, _) => Type::ListOf(Box::new(one(of))),
            (_, Some(of), _) => Type::ObjectOf(Box::new(one(of))),
            (_, _, Some(link)) => Type::Part(link.split(']').next().unwrap_or_default().to_owned()),
            _ => panic!("there is no type {word}"),
        },
    }
}
