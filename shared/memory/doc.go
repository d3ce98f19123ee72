// Package memory keeps what tasks said and did as short texts and finds those
// that fit a new task. [Write] stores a text in the transaction that made it;
// [Search] finds texts by their vectors and by full text and fuses both.
//
// A memory can be found by full text once it commits, and by its vector once
// the embed function has made it.
package memory
