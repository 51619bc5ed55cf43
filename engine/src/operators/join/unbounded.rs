//! The join without an end: all pairs of records of a key.

use super::Sides;
use crate::state::{Context, ListState, Retention, States};
use crate::stream::{Data, Either, Key};

/// Declares the join; `is_outer` if a left record that finds no partner is said with none.
pub(crate) fn unbounded_join<K, L, R, M, O, P>(
    state: &mut States<'_, '_, '_, K, M>,
    sides: Sides,
    is_outer: bool,
    mut pair: P,
) -> impl FnMut(&Context<'_, K, O>, Either<L, R>) + use<K, L, R, M, O, P>
where
    K: Key,
    L: Data,
    R: Data,
    M: Retention,
    O: 'static,
    P: FnMut(&K, &L, Option<&R>) -> O + 'static,
{
    let retention = state.retention();
    let lefts: ListState<K, L, M> = state.evolved(sides.left.of(retention)).list("left");
    let rights: ListState<K, R, M> = state.evolved(sides.right.of(retention)).list("right");
    move |ctx, record| match record {
        Either::Left(left) => {
            let mut is_alone = true;
            rights.for_each(ctx, |right| {
                is_alone = false;
                ctx.emit(pair(ctx.key(), &left, Some(right)));
            });
            if is_alone && is_outer {
                ctx.emit(pair(ctx.key(), &left, None));
            }
            lefts.push(ctx, left);
        }
        Either::Right(right) => {
            lefts.for_each(ctx, |left| ctx.emit(pair(ctx.key(), left, Some(&right))));
            rights.push(ctx, right);
        }
    }
}
