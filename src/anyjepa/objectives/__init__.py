"""What is minimised: a distance to targets, the rule that makes the targets, and a regularizer against collapse."""
