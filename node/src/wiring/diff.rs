//! The change of one file for a person: lines that go and lines that come.

/// Most lines that are compared one by one on each side; longer changes are shown as a whole.
const MAX_COMPARED: usize = 1_500;

/// Lines that change, each with `+` or `-` before it, and `…` for what stays between them.
pub(crate) fn lines(before: &str, after: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let head = old.iter().zip(&new).take_while(|(one, other)| one == other).count();
    let tail = old
        .iter()
        .skip(head)
        .rev()
        .zip(new.iter().skip(head).rev())
        .take_while(|(one, other)| one == other)
        .count();
    let old = old.get(head..old.len() - tail).unwrap_or_default();
    let new = new.get(head..new.len() - tail).unwrap_or_default();
    let minus = |line: &&str| format!("- {line}");
    let plus = |line: &&str| format!("+ {line}");
    if old.is_empty() || new.is_empty() || old.len() > MAX_COMPARED || new.len() > MAX_COMPARED {
        return old.iter().map(minus).chain(new.iter().map(plus)).collect();
    }
    // Longest common lines from each place on.
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    let at = |common: &[u32], i: usize, j: usize| common.get(i * width + j).copied().unwrap_or_default();
    for (i, one) in old.iter().enumerate().rev() {
        for (j, other) in new.iter().enumerate().rev() {
            let best = if one == other {
                at(&common, i + 1, j + 1) + 1
            } else {
                at(&common, i + 1, j).max(at(&common, i, j + 1))
            };
            if let Some(cell) = common.get_mut(i * width + j) {
                *cell = best;
            }
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        match (old.get(i), new.get(j)) {
            (Some(one), Some(other)) if one == other => {
                if out.last().is_none_or(|last: &String| last != "  …") {
                    out.push("  …".to_owned());
                }
                (i, j) = (i + 1, j + 1);
            }
            (Some(one), other) if other.is_none() || at(&common, i + 1, j) >= at(&common, i, j + 1) => {
                out.push(minus(one));
                i += 1;
            }
            (_, Some(other)) => {
                out.push(plus(other));
                j += 1;
            }
            _ => break,
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn only_what_changes_is_shown() {
        assert_eq!(lines("a\nb\nc\nd\n", "a\nx\nb\nc\ny\nd\n"), ["+ x", "  …", "+ y"]);
        assert_eq!(lines("a\nb\n", "a\n"), ["- b"]);
        assert_eq!(lines("a\n", "a\n"), Vec::<String>::new());
        assert_eq!(lines("", "a\n"), ["+ a"]);
        assert_eq!(lines("a\nb\nc\n", "a\nz\nc\n"), ["- b", "+ z"]);
    }
}
