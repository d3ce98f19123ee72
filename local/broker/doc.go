// Package broker is a Knative Broker in one process, for a machine without a
// cluster. It reads the same Brokers and Triggers and treats events as Knative's
// MTChannelBasedBroker does: filters, dispatching, retries, backoff, TTL and the
// extensions of dead letters are knative.dev/eventing's own packages; what this
// package adds is what a cluster does with several deployments:
//
//   - ingress (ingress.go): CloudEvents over HTTP at /<namespace>/<broker>,
//     answered 202 once the event is stored for every Trigger that it passes;
//   - a journal (journal.go): what is not yet delivered, on disk, so that it
//     survives a restart;
//   - a queue for each Trigger (queue.go), bounded in requests under way;
//   - delivery (delivery.go): subscriber, then either its reply back into the
//     Broker or, after the last retry, the dead-letter sink.
//
// It differs from Knative's in two places, both in favour of the event. It
// survives a restart, where an InMemoryChannel forgets. And when neither the
// subscriber nor the dead-letter sink can be reached, it tries both again later,
// where Knative's drops the event.
package broker
