//! Where a row's value stands: in the piece at hand, in this segment, or in the nearest other.

use super::Run;
use super::rows::Cursor;
use crate::table::{Gate, Needs, Path, Source};
use crate::token::Piece;

impl Run<'_> {
    /// Whether what the row reads is there at all: cheap, and mostly the answer is no.
    #[inline]
    pub(super) fn there(&self, gate: &Gate, cursor: &Cursor<'_>) -> bool {
        match gate {
            Gate::Open => true,
            Gate::Parts(bits) => cursor.parts.is_none_or(|parts| parts.present & bits != 0),
            Gate::Field(segment, field) => self.populated(cursor, *segment, *field),
            Gate::Block(_) if self.defaults => true,
            Gate::Block(needs) => {
                let Needs { parts: bits, fields, .. } = &**needs;
                cursor.parts.map_or(*bits != 0 && cursor.piece.is_some(), |parts| parts.present & bits != 0)
                    || fields.iter().any(|(segment, field)| self.populated(cursor, *segment, *field))
            }
        }
    }

    #[inline]
    fn populated(&self, cursor: &Cursor<'_>, segment: [u8; 3], field: u16) -> bool {
        let message = self.ground.message;
        self.segment(cursor, segment).is_some_and(|at| message.has_field(at, field))
    }

    pub(super) fn joined(&self, sources: &[Source], cursor: &Cursor<'_>) -> Option<(String, Vec<Piece>)> {
        let mut text = String::new();
        let mut pieces = Vec::new();
        for source in sources {
            if let Source::Constant(constant) = source {
                text.push_str(constant);
            } else if let Some(piece) = self.first(source, cursor) {
                let leaf = self.ground.message.leaf(piece);
                if let Some(value) = self.ground.message.value(leaf) {
                    text.push_str(&value);
                    pieces.push(leaf);
                }
            }
        }
        (!pieces.is_empty()).then_some((text, pieces))
    }

    /// The first non-empty piece that a source names.
    pub(super) fn first(&self, source: &Source, cursor: &Cursor<'_>) -> Option<Piece> {
        match source {
            Source::Part(path) => self.narrow(cursor, *path),
            Source::Here => cursor.piece,
            Source::Field { segment, field, path } => {
                let message = self.ground.message;
                let at = self.segment(cursor, *segment).filter(|at| message.has_field(*at, *field))?;
                let span = message.field(at, *field)?;
                message.repetitions(span).find_map(|piece| self.below(piece, *path))
            }
            Source::Constant(_) | Source::Joined(_) | Source::Resource(_) => None,
        }
    }

    pub(super) fn narrow(&self, cursor: &Cursor<'_>, path: Path) -> Option<Piece> {
        let piece = match (path.component, cursor.parts) {
            (0, _) => cursor.piece?,
            (n, Some(parts)) => parts.get(n)?,
            (n, None) => self.ground.message.part(cursor.piece?, n)?,
        };
        if path.subcomponent == 0 { Some(piece) } else { self.ground.message.part(piece, path.subcomponent) }
    }

    pub(super) fn below(&self, piece: Piece, path: Path) -> Option<Piece> {
        if path.component == 0 {
            return Some(piece);
        }
        let piece = self.ground.message.part(piece, path.component)?;
        if path.subcomponent == 0 { Some(piece) } else { self.ground.message.part(piece, path.subcomponent) }
    }

    /// The segment of this name: where we are, else the nearest.
    pub(super) fn segment(&self, cursor: &Cursor<'_>, name: [u8; 3]) -> Option<usize> {
        let message = self.ground.message;
        if message.segments.get(cursor.segment).is_some_and(|s| s.name == name) {
            return Some(cursor.segment);
        }
        self.ground.placed.nearest(message, cursor.frame, name)
    }
}
