package memory_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pgvector/pgvector-go"

	"github.com/graf-run/graf/shared/embedding"
	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/postgrestest"
	"github.com/graf-run/graf/shared/tasktest"
)

const model = "test-model"

// store is a database of memories.
type store struct {
	t  *testing.T
	db *pgxpool.Pool
}

func newStore(t *testing.T) *store {
	t.Parallel()
	return &store{t: t, db: postgrestest.New(t)}
}

// task is the id of a new task, whose prompt no test searches for.
func (s *store) task() uuid.UUID {
	return tasktest.Queued(s.t, s.db, tasktest.Task{Prompt: "zzz"}).ID
}

// add writes one memory of task and, if it has one, its vector.
func (s *store) add(task memory.Task, kind string, number int64, text string, vector []float32) {
	s.t.Helper()
	part := memory.Part{Kind: kind, Number: number, Text: text, Metadata: map[string]any{"number": number}}
	if err := memory.Write(s.t.Context(), query.New(s.db), task, part); err != nil {
		s.t.Fatal(err)
	}
	if vector != nil {
		s.embed(text, model, vector)
	}
}

func (s *store) embed(text, model string, vector []float32) {
	s.t.Helper()
	hash := embedding.ContentHash(text)
	tasktest.Exec(s.t, s.db, `INSERT INTO codex_embeddings (content_hash, model, dimension, embedding)
		VALUES ($1, $2, $3, $4::halfvec) ON CONFLICT DO NOTHING`,
		hash[:], model, len(vector), pgvector.NewHalfVector(vector).String())
}

func (s *store) search(q memory.Query) memory.Results {
	s.t.Helper()
	results, err := memory.Search(s.t.Context(), s.db, q)
	if err != nil {
		s.t.Fatal(err)
	}
	for i, hit := range results.Hits {
		if hit.Score <= 0 || hit.Score > 1 || (i > 0 && hit.Score > results.Hits[i-1].Score) {
			s.t.Errorf("hit %d has score %f", i, hit.Score)
		}
		if hit.Snippet == "" || len(hit.Snippet) > memory.SnippetBytes || !strings.Contains(hit.Content, hit.Snippet) {
			s.t.Errorf("hit %d has snippet %q", i, hit.Snippet)
		}
	}
	return results
}

func texts(results memory.Results) []string {
	found := make([]string, len(results.Hits))
	for i, hit := range results.Hits {
		found[i] = hit.Content
	}
	return found
}

// axis is a vector along one axis, leaning a little to the next.
func axis(dimension, i int, lean float32) []float32 {
	v := make([]float32, dimension)
	v[i], v[(i+1)%dimension] = 1, lean
	return v
}

func TestSearchFusesVectorsAndText(t *testing.T) {
	s := newStore(t)
	id := s.task()
	one := memory.Task{ID: id}
	s.add(one, memory.KindOutcome, 1, "The ingress lost requests until it had three replicas.", axis(512, 0, 0.1))
	s.add(one, memory.KindDiff, 2, "-  replicas: 1\n+  replicas: 3", axis(512, 0, 0.3))
	s.add(memory.Task{ID: s.task()}, memory.KindEvent, 3, "The channel was given an annotation.", axis(512, 9, 0))
	results := s.search(memory.Query{Text: "requests get lost by an ingress", Vector: axis(512, 0, 0), Model: model, Dimension: 512})
	want := []string{
		"The ingress lost requests until it had three replicas.", "-  replicas: 1\n+  replicas: 3",
		"The channel was given an annotation.",
	}
	if !slices.Equal(texts(results), want) {
		t.Fatalf("found %q", texts(results))
	}
	if results.Mode != memory.ModeHybrid || results.Reason != "" {
		t.Errorf("mode %s, reason %q", results.Mode, results.Reason)
	}
	first := results.Hits[0]
	if first.Score != 1 || math.Abs(first.Similarity-1/math.Sqrt(1.01)) > 1e-3 || first.TextMatch < 0.5 ||
		first.TaskID != id || first.Kind != memory.KindOutcome || string(first.Metadata) != `{"number": 1}` ||
		first.CreatedAt.IsZero() || first.MemoryID == uuid.Nil {
		t.Errorf("first hit %+v", first)
	}
	if second := results.Hits[1]; second.TextMatch != 0 || second.Similarity < 0.9 {
		t.Errorf("second hit %+v: found by its vector alone", second)
	}
}

func TestSearchByTextAlone(t *testing.T) {
	s := newStore(t)
	s.add(memory.Task{ID: s.task()}, memory.KindOutcome, 1, "A rollout loses requests without a readiness probe.", nil)
	s.add(memory.Task{ID: s.task()}, memory.KindOutcome, 1, "The requests were few.", nil)
	s.add(memory.Task{ID: s.task()}, memory.KindOutcome, 1, "An image was pinned.", nil)
	tests := []struct {
		name, text string
		want       int
	}{
		{"any word will do, most words first", "Why did requests fail in the last rollout?", 2},
		{"other forms of the word", "losing a request", 2},
		{"no word in common", "certificates expire", 0},
		{"stop words alone", "the of and", 0},
		{"what a tsquery would choke on", `requests' & | ! ( ) <-> :* \ ''`, 2},
		{"what Postgres cannot store", "requests\x00\xff", 2},
		{"longer than what is searched for", "requests " + strings.Repeat("word ", 20_000), 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			results := s.search(memory.Query{Text: test.text})
			if len(results.Hits) != test.want {
				t.Fatalf("found %q", texts(results))
			}
			if test.want == 2 && strings.Contains(test.text, "rollout") && !strings.Contains(results.Hits[0].Content, "rollout") {
				t.Errorf("first is %q", results.Hits[0].Content)
			}
			if results.Mode != memory.ModeTextOnly || results.Reason == "" {
				t.Errorf("mode %s, reason %q", results.Mode, results.Reason)
			}
		})
	}
}

func TestSearchFilters(t *testing.T) {
	s := newStore(t)
	own := s.task()
	add := func(task memory.Task, kind, text string) { s.add(task, kind, 0, text, axis(384, 0, 0.1)) }
	add(memory.Task{ID: own, Namespaces: []string{"own"}}, memory.KindOutcome, "replicas own")
	add(memory.Task{ID: s.task(), Namespaces: []string{"a", "b"}, ResourceKinds: []string{"Deployment"}, Tags: []string{"x", "y"}},
		memory.KindOutcome, "replicas ab")
	add(memory.Task{ID: s.task(), Namespaces: []string{"b"}, ResourceKinds: []string{"Service"}, Tags: []string{"x"}},
		memory.KindDiff, "replicas b")
	tests := []struct {
		name string
		q    memory.Query
		want []string
	}{
		{"none", memory.Query{}, []string{"replicas ab", "replicas b", "replicas own"}},
		{"namespace", memory.Query{Namespace: "b"}, []string{"replicas ab", "replicas b"}},
		{"no such namespace", memory.Query{Namespace: "c"}, nil},
		{"kind of resource", memory.Query{ResourceKind: "Service"}, []string{"replicas b"}},
		{"a tag", memory.Query{Tags: []string{"x"}}, []string{"replicas ab", "replicas b"}},
		{"all tags", memory.Query{Tags: []string{"x", "y"}}, []string{"replicas ab"}},
		{"kinds", memory.Query{OnlyKinds: []string{memory.KindDiff, memory.KindEvent}}, []string{"replicas b"}},
		{"no kinds", memory.Query{OnlyKinds: []string{}}, nil},
		{"not its own", memory.Query{ExcludeTask: &own}, []string{"replicas ab", "replicas b"}},
		{"several", memory.Query{Namespace: "b", ResourceKind: "Deployment", Tags: []string{"y"}, ExcludeTask: &own,
			OnlyKinds: []string{memory.KindOutcome}}, []string{"replicas ab"}},
		{"the limit", memory.Query{Limit: 1}, []string{"replicas b"}},
	}
	for _, test := range tests {
		for _, by := range []string{"both", "text", "vector"} {
			t.Run(test.name+" by "+by, func(t *testing.T) {
				q := test.q
				if by != "vector" {
					q.Text = "replicas"
				}
				if by != "text" {
					q.Vector, q.Model = axis(384, 0, 0), model
				}
				found := texts(s.search(q))
				slices.Sort(found)
				if test.q.Limit == 1 && len(found) == 1 {
					return // which of three equals is open
				}
				if !slices.Equal(found, test.want) {
					t.Errorf("found %q, want %q", found, test.want)
				}
			})
		}
	}
}

func TestSearchShowsATextOnceAndNoTaskCrowdsOut(t *testing.T) {
	s := newStore(t)
	chatty := memory.Task{ID: s.task()}
	for i := range 30 {
		s.add(chatty, memory.KindEvent, int64(i), fmt.Sprintf("replicas %d", i), axis(512, 0, 0.01))
	}
	for range 20 {
		s.add(memory.Task{ID: s.task()}, memory.KindEvent, 0, "replicas: started", axis(512, 0, 0.02))
	}
	other := memory.Task{ID: s.task()}
	s.add(other, memory.KindOutcome, 0, "replicas, after all that was said about them, are three", axis(512, 0, 0.5))
	results := s.search(memory.Query{Text: "replicas", Vector: axis(512, 0, 0), Model: model, Limit: 5})
	byTask, seen := map[uuid.UUID]int{}, map[string]bool{}
	for _, hit := range results.Hits {
		byTask[hit.TaskID]++
		if seen[hit.Content] {
			t.Errorf("%q twice", hit.Content)
		}
		seen[hit.Content] = true
	}
	if len(results.Hits) != 5 || byTask[chatty.ID] != 3 || byTask[other.ID] != 1 {
		t.Errorf("found %q", texts(results))
	}
}

// Vectors of other models, and of dimensions that have no index, live beside
// the model in use.
func TestSearchModelsAndDimensions(t *testing.T) {
	for _, dimension := range []int{3, 512, 3072, 4000} {
		t.Run(fmt.Sprint(dimension), func(t *testing.T) {
			s := newStore(t)
			s.add(memory.Task{ID: s.task()}, memory.KindOutcome, 0, "near", axis(dimension, 0, 0.1))
			s.add(memory.Task{ID: s.task()}, memory.KindOutcome, 0, "far", axis(dimension, 1, 0.1))
			s.add(memory.Task{ID: s.task()}, memory.KindOutcome, 0, "another model's", nil)
			s.embed("another model's", "other", axis(dimension, 0, 0))
			s.add(memory.Task{ID: s.task()}, memory.KindOutcome, 0, "another dimension's", axis(dimension/2+1, 0, 0))
			results := s.search(memory.Query{Vector: axis(dimension, 0, 0), Model: model, Dimension: dimension})
			if !slices.Equal(texts(results), []string{"near", "far"}) {
				t.Errorf("found %q", texts(results))
			}
			if results.Mode != memory.ModeHybrid || results.Reason == "" {
				t.Errorf("mode %s, reason %q", results.Mode, results.Reason)
			}
		})
	}
}

// More memories than the graph is asked for at once stand between the query
// and the one that passes the filter.
func TestGraphIsWalkedOnPastTheFilter(t *testing.T) {
	s := newStore(t)
	noisy := s.task()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 600 {
		noise := axis(256, 0, 0)
		for k := range 16 {
			noise[k+1] = float32(random.NormFloat64()) * 0.05
		}
		s.add(memory.Task{ID: noisy}, memory.KindEvent, int64(i), fmt.Sprint("noise ", i), noise)
	}
	wanted := s.task()
	s.add(memory.Task{ID: wanted}, memory.KindOutcome, 0, "wanted", axis(256, 0, 0.9))
	for name, q := range map[string]memory.Query{
		"kind": {OnlyKinds: []string{memory.KindOutcome}}, "task": {ExcludeTask: &noisy},
	} {
		q.Vector, q.Model = axis(256, 0, 0), model
		byGraph, err := memory.NearestByGraph(t.Context(), s.db, q, 1)
		if err != nil {
			t.Fatal(err)
		}
		exact, err := memory.NearestExact(t.Context(), s.db, q, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(exact) != 1 || !slices.Equal(byGraph, exact) {
			t.Errorf("%s: by graph %v, exact %v", name, byGraph, exact)
		}
	}
}

// Vectors that are nearly equal, as those of a log's lines, can cut others off
// from the graph.
func TestSearchFindsWhatACrowdHides(t *testing.T) {
	s := newStore(t)
	noisy := s.task()
	for i := range 300 {
		s.add(memory.Task{ID: noisy}, memory.KindEvent, int64(i), fmt.Sprint("noise ", i), axis(256, 0, float32(i)/10_000))
	}
	s.add(memory.Task{ID: s.task()}, memory.KindOutcome, 0, "wanted", axis(256, 0, 0.9))
	results := s.search(memory.Query{Vector: axis(256, 0, 0), Model: model, ExcludeTask: &noisy})
	if !slices.Equal(texts(results), []string{"wanted"}) {
		t.Errorf("found %q", texts(results))
	}
}

func TestSearchRefuses(t *testing.T) {
	t.Parallel()
	infinite := float32(math.Inf(1))
	tests := []struct {
		name string
		q    memory.Query
		want error
	}{
		{"nothing", memory.Query{}, memory.ErrEmptyQuery},
		{"limit above", memory.Query{Text: "x", Limit: memory.MaxLimit + 1}, memory.ErrLimit},
		{"limit below", memory.Query{Text: "x", Limit: -1}, memory.ErrLimit},
		{"wrong dimension", memory.Query{Vector: []float32{1, 2}, Dimension: 3}, memory.ErrDimension},
		{"no dimension", memory.Query{Vector: []float32{}}, memory.ErrDimension},
		{"too many dimensions", memory.Query{Vector: make([]float32, memory.MaxDimension+1)}, memory.ErrDimension},
		{"zero", memory.Query{Vector: []float32{0, 0}}, memory.ErrVector},
		{"infinite", memory.Query{Vector: []float32{infinite, 0}}, memory.ErrVector},
		{"not a number", memory.Query{Vector: []float32{float32(math.NaN()), 0}}, memory.ErrVector},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := memory.Search(t.Context(), nil, test.q); !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func TestSearchTakesVectorsOfAnyLength(t *testing.T) {
	s := newStore(t)
	s.add(memory.Task{ID: s.task()}, memory.KindOutcome, 0, "near", axis(3, 0, 0))
	for _, length := range []float32{1e-30, 1, 1e30} {
		results := s.search(memory.Query{Vector: []float32{length, 0, 0}, Model: model})
		if len(results.Hits) != 1 || math.Abs(results.Hits[0].Similarity-1) > 1e-3 {
			t.Errorf("length %g: %+v", length, results.Hits)
		}
	}
}
