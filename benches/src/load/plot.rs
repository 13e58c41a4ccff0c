//! The picture: rates with the most clients, then latencies with one.

use super::plan::{MODULE, MOTO, OWNED, PROCESS, SEALED, SOFTHSM};
use super::report::{LoadReport, LoadRow, rate};
use crate::plot::{self, Canvas, FAINT, INK, LEFT, LINE, RULE, Scale, TARGET};
use crate::report::{Unit, show};

const RATES: Scale = Scale { low: 10.0, high: 100_000.0, logarithmic: true };
const RATE_TICKS: [f64; 5] = [10.0, 100.0, 1_000.0, 10_000.0, 100_000.0];
const TIMES: Scale = Scale { low: 1e4, high: 1e8, logarithmic: true };
const TIME_TICKS: [f64; 5] = [1e4, 1e5, 1e6, 1e7, 1e8];

fn colour(side: &str) -> &'static str {
    match side {
        OWNED => "#2563a8",
        SEALED => "#6aa2d0",
        PROCESS => "#b8c4d0",
        MOTO => "#c9b458",
        MODULE => "#c08b5c",
        SOFTHSM => "#a88bc0",
        _ => "#3f9b7f",
    }
}

/// Draws a report.
pub fn draw(report: &LoadReport) -> String {
    let mut canvas = Canvas { body: String::new(), y: 34.0 };
    canvas.body.push_str("<g font-weight=\"700\">\n");
    canvas.text(24.0, "start", 20.0, INK, "Casemate: the signer's API under load");
    canvas.body.push_str("</g>\n");
    canvas.y += 22.0;
    canvas.text(
        24.0,
        "start",
        12.0,
        FAINT,
        &format!("{}; clients run on the same machine", report.machine.line()),
    );
    canvas.y += 12.0;
    let (Some(most), Some(fewest)) =
        (report.rows.iter().map(|row| row.clients).max(), report.rows.iter().map(|row| row.clients).min())
    else {
        return plot::finish(&canvas);
    };
    canvas.heading(
        &format!("Requests in a second, {most} clients"),
        "More is better; logarithmic. Dashes: the bare operation in the sealed guest, with nobody to answer.",
    );
    let rows = |clients| report.rows.iter().filter(move |row| row.clients == clients).collect::<Vec<_>>();
    rates(&mut canvas, report, &rows(most));
    canvas.heading(
        &format!("Latency, {fewest} {}", if fewest == 1 { "client" } else { "clients" }),
        "Less is better; logarithmic. From the median to what 99 of 100 requests do not exceed.",
    );
    latencies(&mut canvas, &rows(fewest));
    plot::finish(&canvas)
}

/// Rows in groups, one for each operation.
fn groups<'a>(rows: &[&'a LoadRow]) -> Vec<Vec<&'a LoadRow>> {
    rows.chunk_by(|a, b| a.operation == b.operation).map(<[_]>::to_vec).collect()
}

/// Vertical lines through all that follows, each with its name above.
fn grid(canvas: &mut Canvas, scale: Scale, ticks: &[(f64, String)], groups: &[Vec<&LoadRow>]) {
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    let height = groups.iter().map(|group| group.len() as f64 * LINE + 8.0).sum::<f64>() - 8.0;
    let (y, top) = (canvas.y, canvas.y - 12.0);
    canvas.y = top - 9.0;
    for (tick, name) in ticks {
        canvas.rule(scale.x(*tick), top, top + height, RULE, "none");
        canvas.text(scale.x(*tick), "middle", 11.0, FAINT, name);
    }
    canvas.y = y;
}

fn rates(canvas: &mut Canvas, report: &LoadReport, rows: &[&LoadRow]) {
    let groups = groups(rows);
    grid(canvas, RATES, &RATE_TICKS.map(|tick| (tick, rate(tick))), &groups);
    for group in &groups {
        let top = canvas.y - 12.0;
        for (index, row) in group.iter().enumerate() {
            canvas.bar(LEFT, RATES.x(row.rate), colour(row.side));
            name(canvas, row, index, &format!("{}/s", rate(row.rate)));
        }
        let bare =
            report.targets.iter().find(|target| group.iter().any(|row| row.operation == target.operation));
        if let Some(target) = bare {
            canvas.rule(RATES.x(target.bare), top, canvas.y - 12.0, TARGET, "4 3");
        }
        canvas.y += 8.0;
    }
}

fn latencies(canvas: &mut Canvas, rows: &[&LoadRow]) {
    let groups = groups(rows);
    let ticks = TIME_TICKS.map(|tick| (tick, show(tick, Unit::Ns).replace(".00", "").replace(".0 ", " ")));
    grid(canvas, TIMES, &ticks, &groups);
    for group in &groups {
        for (index, row) in group.iter().enumerate() {
            canvas.bar(TIMES.x(row.p50), TIMES.x(row.p99).max(TIMES.x(row.p50) + 2.0), colour(row.side));
            name(canvas, row, index, &format!("{} – {}", show(row.p50, Unit::Ns), show(row.p99, Unit::Ns)));
        }
        canvas.y += 8.0;
    }
}

/// The operation stands before its first side.
fn name(canvas: &mut Canvas, row: &LoadRow, index: usize, value: &str) {
    if index == 0 {
        // Above the names of the sides there is no room for what makes them longer.
        let operation = row.operation.split(" AES").next().unwrap_or_default();
        canvas.text(24.0, "start", 12.5, INK, operation);
    }
    let side = match row.side {
        OWNED => "sealed, TLS, signed",
        SEALED => "sealed, in the clear",
        side => side,
    };
    canvas.label(side, value);
    canvas.y += LINE;
}
