//! What came of the attacks, as people and programs read it.

use serde_json::{Value, json};

/// What an attack came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It failed, as it must.
    Held(String),
    /// It succeeds on this host, which is known and said; the second text is what closes it.
    Limit(String, &'static str),
    /// It could not be made here.
    NotMade(String),
    /// It succeeded, or the control did not: a fault.
    Broken(String),
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Held(_) => "held",
            Self::Limit(..) => "LIMIT",
            Self::NotMade(_) => "not made",
            Self::Broken(_) => "BROKEN",
        }
    }

    fn observed(&self) -> &str {
        match self {
            Self::Held(text) | Self::Limit(text, _) | Self::NotMade(text) | Self::Broken(text) => text,
        }
    }
}

/// An attack that was made.
#[derive(Clone, Debug)]
pub struct Row {
    /// What root does.
    pub attack: &'static str,
    /// What must come of it.
    pub expected: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// One paragraph for each attack.
pub fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        text += &format!("{:<9} {}\n", row.outcome.word(), row.attack);
        text += &format!("          expected: {}\n", row.expected);
        text += &format!("          observed: {}\n", row.outcome.observed());
        if let Outcome::Limit(_, closed_by) = row.outcome {
            text += &format!("          closed by: {closed_by}\n");
        }
    }
    let count = |word| rows.iter().filter(|row| row.outcome.word() == word).count();
    text + &format!(
        "\n{} attacks: {} held, {} limits of this host, {} not made, {} broken\n",
        rows.len(),
        count("held"),
        count("LIMIT"),
        count("not made"),
        count("BROKEN")
    )
}

/// The same for programs.
pub fn json(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        let closed_by = match row.outcome {
            Outcome::Limit(_, closed_by) => Some(closed_by),
            _ => None,
        };
        json!({
            "Attack": row.attack,
            "Expected": row.expected,
            "Observed": row.outcome.observed(),
            "Outcome": row.outcome.word(),
            "ClosedBy": closed_by,
        })
    };
    Value::Array(rows.iter().map(row).collect())
}

/// Whether nothing is broken.
pub fn holds(rows: &[Row]) -> bool {
    !rows.iter().any(|row| matches!(row.outcome, Outcome::Broken(_)))
}
