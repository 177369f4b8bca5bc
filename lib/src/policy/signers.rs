//! How many different signers there are behind some statements.

use std::collections::{BTreeSet, HashSet};

use super::VerifiedStatement;

/// Somebody, and as whom of the policy's named identities he was proven.
struct Person<'a> {
    /// By what he is known: keys and names.
    marks: HashSet<&'a str>,
    /// Which of the named identities he is.
    named: BTreeSet<usize>,
}

/// How many different signers signed: statements that share a key, a subject or any other name are one person's. Where
/// identities have names, a person counts as one of them, and each of them counts once.
pub(super) fn signers(accepted: &[VerifiedStatement], named: bool) -> usize {
    let people = people(accepted);
    if named { matched(&people) } else { people.len() }
}

fn people(accepted: &[VerifiedStatement]) -> Vec<Person<'_>> {
    let mut people: Vec<Person<'_>> = Vec::new();
    for statement in accepted {
        let mut person = Person {
            marks: statement.who.iter().map(String::as_str).collect(),
            named: statement.named.iter().copied().collect(),
        };
        let (same, others): (Vec<_>, Vec<_>) =
            people.into_iter().partition(|other| !other.marks.is_disjoint(&person.marks));
        people = others;
        for other in same {
            person.marks.extend(other.marks);
            person.named.extend(other.named);
        }
        people.push(person);
    }
    people
}

/// How many people can be matched with a named identity of their own: an authority that anybody may have signed under must not
/// take the place of the one whom an identity names.
fn matched(people: &[Person<'_>]) -> usize {
    let mut taken: Vec<(usize, usize)> = Vec::new();
    let everybody = 0..people.len();
    everybody.filter(|person| place(people, *person, &mut BTreeSet::new(), &mut taken)).count()
}

/// Gives a person an identity of his own, where another one may have to move for it.
fn place(
    people: &[Person<'_>],
    person: usize,
    tried: &mut BTreeSet<usize>,
    taken: &mut Vec<(usize, usize)>,
) -> bool {
    let wanted: Vec<usize> =
        people.get(person).map(|person| &person.named).into_iter().flatten().copied().collect();
    for identity in wanted {
        if !tried.insert(identity) {
            continue;
        }
        let holder = taken.iter().find(|(held, _)| *held == identity).map(|(_, holder)| *holder);
        if holder.is_none_or(|holder| place(people, holder, tried, taken)) {
            taken.retain(|(held, _)| *held != identity);
            taken.push((identity, person));
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(named: &[usize]) -> Person<'static> {
        Person { marks: HashSet::new(), named: named.iter().copied().collect() }
    }

    #[test]
    fn people_are_matched_with_identities_of_their_own_in_whatever_order() {
        for (people, count) in [
            (&[&[0, 1][..], &[0]][..], 2),
            (&[&[0], &[0, 1]], 2),
            (&[&[0], &[0]], 1),
            (&[&[0, 1], &[0, 1], &[0, 1]], 2),
            (&[&[0, 1], &[1, 2], &[0]], 3),
            (&[&[]], 0),
            (&[], 0),
        ] {
            let people: Vec<_> = people.iter().map(|named| person(named)).collect();
            assert_eq!(matched(&people), count);
        }
    }
}
