//! The picture: how long a launch takes and what of it, then how sealed operations compare.
//!
//! Drawn by hand as SVG: three kinds of mark (bar, line, text) on a fixed grid need no library.

use std::fmt::Write as _;

use crate::report::{Report, Row, Unit, show, verdict};

pub(crate) const WIDTH: f64 = 1000.0;
/// Where bars begin: names stand to the left.
pub(crate) const LEFT: f64 = 270.0;
/// Where they end at the latest: values stand to the right.
pub(crate) const RIGHT: f64 = 780.0;
pub(crate) const LINE: f64 = 24.0;
pub(crate) const BAR: f64 = 15.0;

pub(crate) const INK: &str = "#1f2933";
pub(crate) const FAINT: &str = "#7b8794";
pub(crate) const RULE: &str = "#e4e7eb";
pub(crate) const SEALED: &str = "#2563a8";
pub(crate) const OTHER: &str = "#b8c4d0";
pub(crate) const MISSED: &str = "#c2571a";
pub(crate) const TARGET: &str = "#c2571a";
/// One for each stage of a launch, from the host's work to the guest's.
const STAGES: [&str; 9] =
    ["#dbe4ee", "#b3cde3", "#8fb8da", "#6aa2d0", "#478cc4", "#2563a8", "#6b5fb0", "#9a6fc0", "#3f9b7f"];

/// What is drawn, and where the next line goes.
pub(crate) struct Canvas {
    pub(crate) body: String,
    pub(crate) y: f64,
}

/// From a value to a place between [`LEFT`] and [`RIGHT`].
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) logarithmic: bool,
}

impl Scale {
    pub(crate) fn x(self, value: f64) -> f64 {
        let map = |value: f64| if self.logarithmic { value.log2() } else { value };
        let part = (map(value) - map(self.low)) / (map(self.high) - map(self.low));
        LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }
}

impl Canvas {
    pub(crate) fn text(&mut self, x: f64, anchor: &str, size: f64, fill: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let y = self.y + 4.5;
        let _ = writeln!(
            self.body,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" fill="{fill}">{text}</text>"#
        );
    }

    pub(crate) fn bar(&mut self, from: f64, to: f64, fill: &str) {
        let (y, width) = (self.y - BAR / 2.0, (to - from).max(0.6));
        let _ = writeln!(
            self.body,
            r#"<rect x="{from:.1}" y="{y:.1}" width="{width:.1}" height="{BAR}" rx="1.5" fill="{fill}"/>"#
        );
    }

    pub(crate) fn rule(&mut self, x: f64, top: f64, bottom: f64, colour: &str, dashes: &str) {
        let _ = writeln!(
            self.body,
            r#"<line x1="{x:.1}" y1="{top:.1}" x2="{x:.1}" y2="{bottom:.1}" stroke="{colour}" stroke-dasharray="{dashes}"/>"#
        );
    }

    pub(crate) fn heading(&mut self, title: &str, explanation: &str) {
        self.y += 22.0;
        let _ = writeln!(self.body, r#"<g font-weight="600">"#);
        self.text(24.0, "start", 15.0, INK, title);
        let _ = writeln!(self.body, "</g>");
        self.y += 19.0;
        self.text(24.0, "start", 12.0, FAINT, explanation);
        self.y += LINE + 16.0;
    }

    pub(crate) fn label(&mut self, name: &str, value: &str) {
        self.text(LEFT - 12.0, "end", 12.5, INK, name);
        self.text(RIGHT + 12.0, "start", 12.5, INK, value);
    }

    /// Vertical lines behind `lines` rows that begin here, each with its name above, and the target's.
    fn grid(&mut self, scale: Scale, ticks: &[f64], unit: Unit, target: Option<(f64, &str)>, lines: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
        let (top, bottom) = (self.y - 12.0, self.y + (lines as f64 - 0.5) * LINE);
        let y = self.y;
        self.y = top - 9.0;
        for tick in ticks {
            self.rule(scale.x(*tick), top, bottom, RULE, "none");
            let name = show(*tick, unit).replace(".00", "").replace(".0 ", " ");
            self.text(scale.x(*tick), "middle", 11.0, FAINT, &name);
        }
        if let Some((value, name)) = target {
            self.rule(scale.x(value), top, bottom, TARGET, "4 3");
            self.y = bottom + 5.0;
            self.text(scale.x(value), "middle", 11.0, TARGET, name);
        }
        self.y = y;
    }
}

/// Draws a report.
pub fn draw(report: &Report) -> String {
    let mut canvas = Canvas { body: String::new(), y: 34.0 };
    let _ = writeln!(canvas.body, r#"<g font-weight="700">"#);
    canvas.text(24.0, "start", 20.0, INK, "Casemate: sealed guests beside ordinary processes");
    let _ = writeln!(canvas.body, "</g>");
    canvas.y += 22.0;
    let machine = format!("{}; {}", report.machine.line(), report.machine.openssl);
    canvas.text(24.0, "start", 12.0, FAINT, &machine);
    canvas.y += 12.0;
    launch(&mut canvas, report);
    ratios(
        &mut canvas,
        &rows(report, "operations", "process"),
        "Key operations of the signer, JSON in and out, sealed / in a process",
        "Processor time, less is better; the target, 1.05, is for operations of 100 µs or more. Right: sealed, in a process.",
        Scale { low: 0.0, high: 1.5, logarithmic: false },
        &[0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5],
        (1.05, "target"),
    );
    ratios(
        &mut canvas,
        &rows(report, "requests", "process"),
        "Requests over HTTP, sealed / as a process",
        "Time of a request from one client, less is better; with 8 in flight, speed, more is better. Right: sealed, as a process.",
        Scale { low: 0.0, high: 2.5, logarithmic: false },
        &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5],
        (1.0, "equal"),
    );
    ratios(
        &mut canvas,
        &rows(report, "primitives", "openssl"),
        "Cryptography in the sealed guest / openssl speed",
        "Speed, more is better; one thread. Right: time of one operation, sealed, in OpenSSL.",
        Scale { low: 0.25, high: 16.0, logarithmic: true },
        &[0.5, 1.0, 2.0, 4.0, 8.0, 16.0],
        (1.0, "target"),
    );
    ratios(
        &mut canvas,
        &rows(report, "vsock", "Unix"),
        "vsock / Unix socket between two processes",
        "Time of an echo, less is better; for the stream, speed, more is better. Right: vsock, Unix socket.",
        Scale { low: 0.0, high: 6.0, logarithmic: false },
        &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        (2.0, "target"),
    );
    numbers(&mut canvas, report);
    finish(&canvas)
}

pub(crate) fn finish(canvas: &Canvas) -> String {
    let height = canvas.y + 18.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{}</svg>\n",
        canvas.body
    )
}

fn rows<'a>(report: &'a Report, group: &str, reference: &str) -> Vec<&'a Row> {
    let matches =
        |row: &&Row| row.group == group && row.reference.as_ref().is_some_and(|(name, _)| name == reference);
    report.rows.iter().filter(matches).collect()
}

/// A stacked bar for the sealed guest, plain ones for what stands beside it.
fn launch(canvas: &mut Canvas, report: &Report) {
    let rows: Vec<_> = report.rows.iter().filter(|row| row.group == "launch").collect();
    let Some((total, rest)) = rows.split_first() else {
        return;
    };
    let (stages, others): (Vec<&Row>, Vec<&Row>) =
        rest.iter().partition(|row| row.name.starts_with("  stage"));
    canvas.heading(
        "Launch",
        "From before exec to a verified attestation document, image loading included; medians.",
    );
    let longest = rows.iter().map(|row| row.value).fold(5e6, f64::max);
    let scale = Scale { low: 0.0, high: (longest / 1e6).ceil() * 1e6, logarithmic: false };
    let steps = [1e6, 2e6, 5e6, 1e7, 2e7, 5e7];
    let step = steps.into_iter().find(|step| scale.high / step <= 8.0).unwrap_or(1e8);
    let ticks: Vec<f64> =
        (0..=8).map(|tick| f64::from(tick) * step).filter(|tick| *tick <= scale.high).collect();
    canvas.grid(scale, &ticks, Unit::Ns, Some((5e6, "target 5 ms")), others.len() + 1);
    canvas.label("sealed signer, first attestation", &show(total.value, Unit::Ns));
    // Medians of stages do not add up to the median of sums: they share the bar by their size.
    let sum: f64 = stages.iter().map(|row| row.value).sum();
    let mut from = 0.0;
    for (row, colour) in stages.iter().zip(STAGES.iter().cycle()) {
        let to = from + row.value / sum * total.value;
        canvas.bar(scale.x(from), scale.x(to), colour);
        from = to;
    }
    canvas.y += LINE;
    for row in others {
        canvas.bar(LEFT, scale.x(row.value), OTHER);
        canvas.label(&row.name, &show(row.value, Unit::Ns));
        canvas.y += LINE;
    }
    canvas.y += 16.0;
    legend(canvas, &stages);
}

fn legend(canvas: &mut Canvas, stages: &[&Row]) {
    for line in stages.iter().zip(STAGES.iter().cycle()).collect::<Vec<_>>().chunks(3) {
        let mut x = 60.0;
        for (row, colour) in line {
            canvas.bar(x, x + BAR, colour);
            let name = row.name.trim_start_matches("  stage: ");
            canvas.text(x + 22.0, "start", 12.0, INK, &format!("{name}  {}", show(row.value, Unit::Ns)));
            x += 300.0;
        }
        canvas.y += 21.0;
    }
}

/// Bars that begin at 1 where the scale is logarithmic, else at 0.
fn ratios(
    canvas: &mut Canvas,
    rows: &[&Row],
    title: &str,
    explanation: &str,
    scale: Scale,
    ticks: &[f64],
    line: (f64, &str),
) {
    if rows.is_empty() {
        return;
    }
    canvas.heading(title, explanation);
    canvas.grid(scale, ticks, Unit::Ratio, Some(line), rows.len());
    for row in rows {
        let ratio = row.ratio.unwrap_or(0.0);
        let start = scale.x(if scale.logarithmic { 1.0 } else { 0.0 });
        let end = scale.x(ratio);
        let colour = match row.reached {
            Some(true) => SEALED,
            Some(false) => MISSED,
            None => OTHER,
        };
        canvas.bar(start.min(end), start.max(end), colour);
        let reference = row.reference.as_ref().map_or(0.0, |(_, value)| *value);
        let times = format!("{} : {}", show(row.value, row.unit), show(reference, row.unit));
        canvas.text(RIGHT + 70.0, "start", 12.0, FAINT, &times);
        canvas.label(&row.name, &show(ratio, Unit::Ratio));
        canvas.y += LINE;
    }
    canvas.y += 8.0;
}

/// What is better read than drawn.
fn numbers(canvas: &mut Canvas, report: &Report) {
    let rows: Vec<_> = report
        .rows
        .iter()
        .filter(|row| {
            ["exits", "memory", "fleet", "figures"].contains(&row.group) && !row.name.starts_with("  of it")
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    canvas.heading("Further figures", "Medians; missed targets in colour.");
    canvas.y -= 8.0;
    for row in rows {
        let colour = if row.reached == Some(false) { MISSED } else { INK };
        canvas.text(48.0, "start", 12.5, INK, row.name.trim());
        canvas.text(480.0, "end", 12.5, colour, &show(row.value, row.unit));
        canvas.text(510.0, "start", 12.5, colour, &verdict(row));
        canvas.y += 20.0;
    }
}
