//! The augmentations of a dataset: one for each group of views.

use std::ops::Range;

use crate::augment::Augmentation;

/// A group of views and what makes them.
#[derive(Debug)]
pub(crate) struct Law {
    pub views: usize,
    pub augmentation: Box<dyn Augmentation>,
}

impl Law {
    fn own(&self) -> &dyn Augmentation {
        self.augmentation.as_ref()
    }
}

/// All groups, at least one.
#[derive(Debug)]
pub(crate) struct Laws {
    first: Law,
    others: Vec<Law>,
}

impl Laws {
    pub(crate) fn new(first: Law, others: Vec<Law>) -> Self {
        Self { first, others }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Law> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// What makes the first view.
    pub(crate) fn first(&self) -> &dyn Augmentation {
        self.first.own()
    }

    /// Views of each image in a batch.
    pub(crate) fn views(&self) -> usize {
        self.iter().map(|law| law.views).sum()
    }

    /// What makes the view of this number: beyond the last group, that group.
    pub(crate) fn of_view(&self, view: usize) -> &dyn Augmentation {
        let mut end = 0;
        let mut own = self.iter().skip_while(|law| {
            end += law.views;
            end <= view
        });
        let last = || self.others.last().unwrap_or(&self.first);
        own.next().unwrap_or_else(last).own()
    }

    /// The groups that make any of the first `views` views, each with those that it makes.
    pub(crate) fn shares(&self, views: usize) -> impl Iterator<Item = (&dyn Augmentation, Range<usize>)> {
        let shares = shares(self.iter().map(|law| law.views).collect(), views);
        let all = self.iter().map(Law::own).zip(shares);
        all.filter(|(_, share)| !share.is_empty())
    }
}

/// Which of the first `views` views the groups of these sizes make, in order; the last one makes all that are left.
pub(crate) fn shares(mut groups: Vec<usize>, views: usize) -> Vec<Range<usize>> {
    if let Some(last) = groups.last_mut() {
        *last = views;
    }
    let mut start = 0usize;
    let share = |count: usize| {
        let own = start..start.saturating_add(count).min(views);
        start = own.end;
        own
    };
    groups.into_iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_makes_its_own_views_and_the_last_one_all_that_are_left() {
        assert_eq!(shares(vec![2, 6], 8), [0..2, 2..8]);
        assert_eq!(shares(vec![2, 6], 1), [0..1, 1..1]);
        assert_eq!(shares(vec![2, 3, 1], 4), [0..2, 2..4, 4..4]);
        assert_eq!(shares(vec![2, 1], 5), [0..2, 2..5]);
        assert_eq!(shares(vec![1], 3), std::slice::from_ref(&(0..3)));
    }
}
