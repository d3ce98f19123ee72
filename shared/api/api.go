// Package api is Graf's HTTP API. openapi.yaml is its source: types.gen.go is
// generated from it, and [Validator] checks requests against it at run time, so
// that types, checks and documentation cannot drift apart.
package api

import _ "embed"

//go:generate oapi-codegen -config oapi-codegen.yaml openapi.yaml

//go:embed openapi.yaml
var document []byte

// Document is a copy of the OpenAPI 3.1 document, as YAML.
func Document() []byte { return append([]byte(nil), document...) }

// The operations, by their operationId in the document.
const (
	OperationSubmitTask       = "submitTask"
	OperationListTasks        = "listTasks"
	OperationGetTask          = "getTask"
	OperationCancelTask       = "cancelTask"
	OperationPostTaskEvents   = "postTaskEvents"
	OperationListTaskEvents   = "listTaskEvents"
	OperationPostTaskActions  = "postTaskActions"
	OperationUploadParts      = "uploadArtifactParts"
	OperationCompleteArtifact = "completeArtifact"
	OperationListTaskMemory   = "listTaskMemory"
	OperationQueryTaskMemory  = "queryTaskMemory"
	OperationDecideApproval   = "decideApproval"
	OperationUndoTask         = "undoTask"
	OperationExplainPolicy    = "explainPolicy"
	OperationRetryTask        = "retryTask"
	OperationQueryMemory      = "queryMemory"
	OperationGetMemory        = "getMemory"
	OperationForgetMemory     = "forgetMemory"
	OperationListDeadLetters  = "listDeadLetters"
	OperationGetDeadLetter    = "getDeadLetter"
	OperationReplayLetter     = "replayDeadLetter"
	OperationPostTaskMCP      = "postTaskMcp"
)

// SchemaTaskSubmission names the schema of a submission, for those that come as
// the data of a CloudEvent.
const SchemaTaskSubmission = "TaskSubmission"

// SchemaMemoryQuery names the schema of a query, for those that come as the
// arguments of a tool.
const SchemaMemoryQuery = "MemoryQuery"

// What a submission that leaves these out gets; equal to the document's.
const (
	DefaultPriority          = 5
	DefaultTimeoutSeconds    = 1800
	DefaultMaxAttempts       = 1
	DefaultOrchestrationMode = OrchestrationModeDirect
	DefaultMemoryLimit       = 10
)

// The most bytes in a request's body. A submission may hold 1 MiB of manifests,
// and a 64 KiB prompt in which every byte is escaped; a request for actions 4 MiB
// of manifests.
const (
	MaxSubmissionBytes   = 2 << 20
	MaxEventsBytes       = 1 << 20
	MaxActionsBytes      = 4<<20 + 256<<10
	MaxPartsBytes        = 32 << 10
	MaxMemoryQueryBytes  = 512 << 10
	MaxCancellationBytes = 16 << 10
	MaxMCPBytes          = 1 << 20
)

// MaxEvents is the most events in one request; equal to the document's.
const MaxEvents = 100
