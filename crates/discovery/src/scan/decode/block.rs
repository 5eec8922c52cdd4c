//! Blocks of YAML: lines that are indented after `|`, and folded after `>` (YAML 1.2.2 §8.1).

use super::places::neighbours;
use super::{Encoding, Piece, Room, Way};

/// What becomes of line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// They stay.
    Literal,
    /// One is a space; with blank lines, there is one fewer.
    Folded,
}

/// Hands over every block.
pub(super) fn pieces(
    text: &[u8],
    shortest: usize,
    room: &mut Room,
    visit: &mut dyn FnMut(&Piece<'_>),
) {
    let mut from = 0;
    while let Some(blank) = neighbours(text, from, is_indicated) {
        let sign = blank + 1;
        from = sign;
        let Some(first) = header_end(text, sign) else {
            continue;
        };
        let style = if text[sign] == b'|' {
            Style::Literal
        } else {
            Style::Folded
        };
        let range = first..block_end(text, first);
        room.bytes.clear();
        let bytes = &mut room.bytes;
        each(&text[range.clone()], style, &mut |_, byte| {
            bytes.push(byte);
            true
        });
        if room.bytes.len() >= shortest {
            visit(&Piece {
                encoding: Encoding::Block,
                bytes: &room.bytes,
                range,
                way: Way::Block(style),
            });
        }
    }
}

/// Where the byte at a position comes from.
pub(super) fn nth(source: &[u8], style: Style, position: usize) -> usize {
    let (mut made, mut found) = (0, 0);
    each(source, style, &mut |at, _| {
        found = at;
        made += 1;
        made <= position
    });
    found
}

/// Whether an indicator follows a blank.
fn is_indicated(one: u8, two: u8) -> bool {
    ((one == b' ') | (one == b'\t')) & ((two == b'|') | (two == b'>'))
}

/// Where the first line of a block begins, if an indicator at the end of a line says that one follows.
fn header_end(text: &[u8], sign: usize) -> Option<usize> {
    let mut at = sign + 1;
    while matches!(text.get(at), Some(b'-' | b'+' | b'1'..=b'9')) {
        at += 1;
    }
    let rest = text.get(at..)?;
    let line = memchr::memchr(b'\n', rest)?;
    let tail = rest[..line].trim_ascii();
    (tail.is_empty() || tail.starts_with(b"#")).then_some(at + line + 1)
}

fn indentation(line: &[u8]) -> usize {
    line.iter().take_while(|byte| **byte == b' ').count()
}

fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}

/// The end of the lines that are indented as the first one is.
fn block_end(text: &[u8], first: usize) -> usize {
    let mut end = first;
    let mut deep = None;
    for line in text[first..].split_inclusive(|byte| *byte == b'\n') {
        if !is_blank(line) {
            let own = indentation(line);
            if own == 0 || own < *deep.get_or_insert(own) {
                break;
            }
        }
        end += line.len();
    }
    end
}

/// Hands over every byte of the block with the place that it comes from, until it is asked to stop.
fn each(source: &[u8], style: Style, visit: &mut dyn FnMut(usize, u8) -> bool) {
    let lines = || source.split_inclusive(|byte| *byte == b'\n');
    let Some(deep) = lines().find(|line| !is_blank(line)).map(indentation) else {
        return;
    };
    let (mut at, mut blank, mut begun) = (0, 0, false);
    for line in lines() {
        let start = at;
        at += line.len();
        if is_blank(line) {
            blank += 1;
            continue;
        }
        if begun {
            let ends = match style {
                Style::Literal => blank + 1,
                Style::Folded => blank,
            };
            if ends == 0 && !visit(start, b' ') {
                return;
            }
            for _ in 0..ends {
                if !visit(start, b'\n') {
                    return;
                }
            }
        }
        (blank, begun) = (0, true);
        let content = line.strip_suffix(b"\n").unwrap_or(line);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        for (place, byte) in content.iter().enumerate().skip(deep) {
            if !visit(start + place, *byte) {
                return;
            }
        }
    }
}
