// Package graf is the Go client of Graf, which runs coding agents on a
// Kubernetes cluster and remembers what they did.
//
// [New] makes a client for people and programs that submit and follow tasks;
// [NewInContainer] makes one for an agent, from the variables that Graf starts
// it with. The client tries again what can be tried again (see [Retry]), reads
// pages and live events by range-over-func iterators, uploads and downloads
// artifacts with their SHA-256 verified, and tells errors apart by kind:
//
//	task, err := client.Task(ctx, id)
//	if errors.Is(err, graf.ErrNotFound) { … }
//	if problem, ok := errors.AsType[*graf.Problem](err); ok { fmt.Println(problem.Errors) }
//
// The types are generated from Graf's OpenAPI document.
package graf

//go:generate oapi-codegen -config oapi-codegen.yaml ../../shared/api/openapi.yaml
