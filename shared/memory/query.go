package memory

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
)

// Bounds of a Query.
const (
	DefaultLimit = 10
	MaxLimit     = 100
	// MaxDimension is the most that pgvector's halfvec indexes.
	MaxDimension = 4000
)

// Modes of a search, see Results.
const (
	// ModeHybrid is a search by vector, and by full text if there was a text.
	ModeHybrid = "hybrid"
	// ModeTextOnly is a search by full text alone, because there was no vector.
	ModeTextOnly = "text_only"
)

// Errors of a Query that cannot be searched for.
var (
	ErrEmptyQuery = errors.New("the query has neither text nor vector")
	ErrDimension  = errors.New("the vector does not have the dimension of the model in use")
	ErrVector     = errors.New("the vector has no direction: it is zero, or holds a value that is not finite")
	ErrLimit      = errors.New("the limit is out of range")
)

// Query is what to search for: Text, Vector or, best, both.
type Query struct {
	// Text is searched for by full text; only its first 8 KiB count.
	Text string
	// Vector is Text's embedding by Model; nil when it is not to be had. Its
	// length need not be 1.
	Vector []float32
	// Model names the model that made Vector, as stored with the memories'
	// vectors; those of other models are not compared with it.
	Model string
	// Dimension is the dimension of Model's vectors; 0 takes Vector's length.
	Dimension int
	// Limit is the most hits, 1 to MaxLimit; 0 is DefaultLimit.
	Limit int

	// Namespace and ResourceKind keep memories of tasks that had a target
	// resource there, or of that kind; empty keeps all.
	Namespace    string
	ResourceKind string
	// Tags keeps memories of tasks that carry all of these.
	Tags []string
	// OnlyKinds keeps memories of these kinds (KindOutcome, …); nil keeps all.
	OnlyKinds []string
	// Project keeps memories of tasks of this project; empty keeps all.
	Project string
	// Since keeps memories made at this moment or later; zero keeps all.
	Since time.Time
	// ExcludeTask leaves out one task's own memories.
	ExcludeTask *uuid.UUID
}

// Results are the hits, best first, and how they were found.
type Results struct {
	Hits []Hit
	// Mode is ModeHybrid or ModeTextOnly.
	Mode string
	// Reason says why the search was not by both; empty if it was.
	Reason string
}

// Hit is one memory that was found.
type Hit struct {
	MemoryID uuid.UUID
	// Score orders the hits of one search, 0 to 1: the reciprocal rank fusion
	// of its ranks, as a share of what the first by every ranking would have.
	// It says how a hit compares with the others, not how good it is: for
	// that, see Similarity and TextMatch.
	Score float64
	// Similarity is the cosine of query and memory, -1 to 1; 0 where the
	// vector search did not find it.
	Similarity float64
	// TextMatch is the share of the query's words that the memory has, rare
	// words counting more, 0 to 1; 0 where the text search did not find it.
	TextMatch float64
	// Snippet is the part of Content that fits the query best, at most
	// SnippetBytes.
	Snippet string
	// Content is the whole memory, at most ChunkBytes.
	Content string
	TaskID  uuid.UUID
	// Kind is what of the task it is: KindPrompt, KindOutcome, …
	Kind      string
	Metadata  json.RawMessage
	CreatedAt time.Time
}

// checked is q with its defaults, or an error that says what to mend.
func (q Query) checked() (Query, error) {
	if q.Limit == 0 {
		q.Limit = DefaultLimit
	}
	if q.Limit < 1 || q.Limit > MaxLimit {
		return q, fmt.Errorf("%w: it is %d, give 1 to %d", ErrLimit, q.Limit, MaxLimit)
	}
	if q.Text == "" && q.Vector == nil {
		return q, ErrEmptyQuery
	}
	if q.Vector == nil {
		return q, nil
	}
	if q.Dimension == 0 {
		q.Dimension = len(q.Vector)
	}
	if len(q.Vector) != q.Dimension || q.Dimension < 1 || q.Dimension > MaxDimension {
		return q, fmt.Errorf("%w: it has %d values, give %d", ErrDimension, len(q.Vector), q.Dimension)
	}
	unit, err := normalise(q.Vector)
	q.Vector = unit
	return q, err
}

// normalise scales v to length 1, with which every value fits into a halfvec.
func normalise(v []float32) ([]float32, error) {
	var square float64
	for _, x := range v {
		square += float64(x) * float64(x)
	}
	length := math.Sqrt(square)
	if length == 0 || math.IsInf(length, 0) || math.IsNaN(length) {
		return nil, ErrVector
	}
	unit := make([]float32, len(v))
	for i, x := range v {
		unit[i] = float32(float64(x) / length)
	}
	return unit, nil
}
