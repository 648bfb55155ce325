//! A plot of curves side by side, as SVG.

use std::fmt::Write as _;

/// A curve by its points.
pub struct Curve {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// Curves with common axes.
pub struct Panel {
    pub title: String,
    pub curves: Vec<Curve>,
}

const COLOURS: [&str; 4] = ["#0b6e4f", "#c1440e", "#d9a441", "#5b7db1"];
/// Sizes in pixels: of a panel, of the curves' part of it, and of the rest to the left and above.
const PANEL: (f64, f64) = (420.0, 380.0);
const INSIDE: (f64, f64) = (340.0, 260.0);
const BEFORE: (f64, f64) = (60.0, 40.0);

/// The panels from left to right, all with the same axes and one legend.
pub fn svg(panels: &[Panel]) -> String {
    let points = || panels.iter().flat_map(|panel| &panel.curves).flat_map(|curve| &curve.points);
    let most = |axis: fn(&(f64, f64)) -> f64| points().map(axis).fold(0.0, f64::max);
    let axes =
        Axes { most_x: most(|point| point.0).max(1.0), most_y: most(|point| point.1).max(1.1) };
    let (width, height) = (PANEL.0 * panels.len().max(1) as f64, PANEL.1);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (place, panel) in panels.iter().enumerate() {
        let left = PANEL.0 * place as f64 + BEFORE.0;
        let _ = writeln!(out, "<g transform=\"translate({left} {})\">", BEFORE.1);
        axes.draw(&mut out, &panel.title);
        for (curve, colour) in panel.curves.iter().zip(COLOURS) {
            axes.curve(&mut out, curve, colour);
        }
        out.push_str("</g>\n");
    }
    if let Some(panel) = panels.first() {
        legend(&mut out, &panel.curves);
    }
    out.push_str("</svg>\n");
    out
}

/// What the axes reach: from 0 to the right, from 1 upwards.
struct Axes {
    most_x: f64,
    most_y: f64,
}

impl Axes {
    fn x(&self, value: f64) -> f64 {
        value / self.most_x * INSIDE.0
    }

    fn y(&self, value: f64) -> f64 {
        INSIDE.1 * (1.0 - (value - 1.0) / (self.most_y - 1.0))
    }

    fn draw(&self, out: &mut String, title: &str) {
        let (width, height) = INSIDE;
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"-14\" text-anchor=\"middle\" font-size=\"15\">{title}</text>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">members</text>\n\
             <text transform=\"translate(-42 {}) rotate(-90)\" text-anchor=\"middle\">\
             largest share / mean</text>",
            width / 2.0,
            width / 2.0,
            height + 36.0,
            height / 2.0,
        );
        for value in ticks(0.0, self.most_x) {
            let x = self.x(value);
            let _ = writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{value}</text>",
                height + 18.0
            );
        }
        for value in ticks(1.0, self.most_y) {
            let y = self.y(value);
            let _ = writeln!(
                out,
                "<path d=\"M0 {y:.1}H{width}\" stroke=\"#ddd\"/>\
                 <text x=\"-8\" y=\"{:.1}\" text-anchor=\"end\">{value:.2}</text>",
                y + 4.0
            );
        }
        let _ = writeln!(out, "<path d=\"M0 0V{height}H{width}\" fill=\"none\" stroke=\"#333\"/>");
    }

    fn curve(&self, out: &mut String, curve: &Curve, colour: &str) {
        let points: Vec<String> = (curve.points.iter())
            .map(|(x, y)| format!("{:.1},{:.1}", self.x(*x), self.y(*y)))
            .collect();
        let points = points.join(" ");
        let _ = writeln!(
            out,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>"
        );
    }
}

fn legend(out: &mut String, curves: &[Curve]) {
    let y = PANEL.1 - 14.0;
    let mut x = BEFORE.0;
    for (curve, colour) in curves.iter().zip(COLOURS) {
        let _ = writeln!(
            out,
            "<path d=\"M{x} {y}h14\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"{}\" y=\"{}\" font-size=\"10\">{}</text>",
            x + 18.0,
            y + 3.5,
            curve.name
        );
        x += 26.0 + 6.0 * curve.name.len() as f64;
    }
}

/// Round numbers from `first` to `last`, four to nine of them.
fn ticks(first: f64, last: f64) -> Vec<f64> {
    let rough = (last - first) / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [5.0, 2.0, 1.0].into_iter().map(|n| n * power).find(|step| *step <= rough);
    let step = step.unwrap_or(power);
    let count = ((last - first) / step + 1e-9).floor() as usize;
    (0..=count).map(|n| first + n as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_a_curve_for_each_of_each_panel_and_one_legend() {
        let panel = |title: &str| {
            let curve =
                |name: &str| Curve { name: name.into(), points: vec![(1.0, 1.0), (9.0, 2.0)] };
            Panel { title: title.into(), curves: vec![curve("one"), curve("other")] }
        };
        let text = svg(&[panel("left"), panel("right")]);
        assert_eq!(text.matches("<polyline").count(), 4);
        assert_eq!((text.matches(">one<").count(), text.matches(">other<").count()), (1, 1));
        assert!(text.contains(">left<") && text.contains(">right<"));
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        assert!(!svg(&[]).contains("NaN"));
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(0.0, 100.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(1.0, 3.1), [1.0, 1.5, 2.0, 2.5, 3.0]);
    }
}
