// Package e2e holds the tests of Graf on a real cluster: make e2e runs them, and
// README.md says what each proves. They are behind the build tag e2e, since they
// need a cluster with Graf deployed on it.
package e2e
