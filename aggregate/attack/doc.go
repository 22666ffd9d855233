// Package attack forges what hostile clients send, to test rules of package
// aggregate, and one's own settings, against.
//
// An [Attack] sees the rows of the honest clients, as an attacker who owns the
// network would, and fills the rows of the f liars. All but [Gaussian] send f equal
// rows. [OptimalIPM], [OptimalALIE] and [Adaptive] know the rule, too, and search for
// what moves its result farthest from the honest mean.
//
// Label flipping and backdoors are made in the liars' data ([FlipLabel]) and reach
// the server as rows trained on it: [LabelFlip] and [ModelReplacement] are their last
// step.
package attack
