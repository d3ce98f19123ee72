package embeddings

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/viterin/vek/vek32"
)

// loadModel loads the weights once for all tests of this package.
var loadModel = sync.OnceValues(func() (*Model, error) {
	dir, err := DefaultModelDir()
	if err != nil {
		return nil, err
	}
	return Load(dir)
})

func testModel(tb testing.TB) *Model {
	tb.Helper()
	m, err := loadModel()
	if err != nil {
		tb.Fatalf("%v\nrun make setup-model, or: local/install-model.sh", err)
	}
	return m
}

// reference is one text with the token ids and the vector that the model's own
// JavaScript runtime gives for it.
type reference struct {
	Text   string  `json:"text"`
	IDs    []int32 `json:"ids"`
	Vector Base64  `json:"vector"`
}

func references(tb testing.TB) []reference {
	tb.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "reference.json"))
	if err != nil {
		tb.Fatal(err)
	}
	var refs []reference
	if err := json.Unmarshal(raw, &refs); err != nil {
		tb.Fatal(err)
	}
	if len(refs) != 50 {
		tb.Fatalf("%d reference texts, want 50", len(refs))
	}
	return refs
}

func TestReferenceTokens(t *testing.T) {
	t.Parallel()
	m := testModel(t)
	for _, ref := range references(t) {
		if got := m.Tokenize(ref.Text); !slices.Equal(got, ref.IDs) {
			t.Errorf("tokens of %q:\n got %v\nwant %v", ref.Text, got, ref.IDs)
		}
	}
}

func TestReferenceVectors(t *testing.T) {
	t.Parallel()
	m := testModel(t)
	refs := references(t)
	texts := make([]string, len(refs))
	for i, ref := range refs {
		texts[i] = ref.Text
	}
	got, err := m.Embed(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	for i, ref := range refs {
		if diff := maxDifference(got[i], ref.Vector); diff > 1e-5 {
			t.Errorf("vector of %q differs by %g, want at most 1e-5", ref.Text, diff)
		}
	}
}

func maxDifference(a, b []float32) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	var worst float64
	for i := range a {
		worst = max(worst, math.Abs(float64(a[i])-float64(b[i])))
	}
	return worst
}

func TestSimilarTextsAreNearer(t *testing.T) {
	t.Parallel()
	m := testModel(t)
	got, err := m.Embed(t.Context(), []string{
		"process was terminated because it used too much memory",
		"the kernel stopped the workload after it exceeded its memory limit",
		"an ingress routes external requests to services",
	})
	if err != nil {
		t.Fatal(err)
	}
	near, far := vek32.Dot(got[0], got[1]), vek32.Dot(got[0], got[2])
	if near <= far {
		t.Errorf("similarity to the paraphrase %g, to the unrelated text %g", near, far)
	}
}

func TestLongTextIsMeanOfWindows(t *testing.T) {
	t.Parallel()
	m := testModel(t)
	ids := m.Tokenize(strings.Repeat("The kubelet evicts pods when the disk is full. ", 40))
	if len(ids) <= 2*WindowTokens {
		t.Fatalf("%d tokens: the text is too short for this test", len(ids))
	}
	whole, err := m.EmbedTokens(t.Context(), [][]int32{ids})
	if err != nil {
		t.Fatal(err)
	}
	parts, err := m.EmbedTokens(t.Context(), split(ids, WindowTokens))
	if err != nil {
		t.Fatal(err)
	}
	want := make([]float32, Dimension)
	for _, part := range parts {
		vek32.Add_Inplace(want, part)
	}
	normalize(want)
	if diff := maxDifference(whole[0], want); diff > 1e-6 {
		t.Errorf("differs from the normalised mean of its windows by %g", diff)
	}
	if length := vek32.Norm(whole[0]); math.Abs(float64(length)-1) > 1e-5 {
		t.Errorf("norm %g, want 1", length)
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		tokens int
		want   []int // window lengths
	}{
		{0, []int{}},
		{1, []int{1}},
		{128, []int{128}},
		{129, []int{64, 65}},
		{257, []int{85, 86, 86}},
	}
	for _, tt := range tests {
		ids := make([]int32, tt.tokens)
		for i := range ids {
			ids[i] = int32(i)
		}
		windows := split(ids, WindowTokens)
		lengths := make([]int, len(windows))
		for i, w := range windows {
			lengths[i] = len(w)
		}
		if !slices.Equal(lengths, tt.want) {
			t.Errorf("split(%d tokens) gives windows of %v, want %v", tt.tokens, lengths, tt.want)
		}
		if !slices.Equal(slices.Concat(windows...), ids) {
			t.Errorf("split(%d tokens) loses or reorders tokens", tt.tokens)
		}
	}
}

func TestEmbedEmptyText(t *testing.T) {
	t.Parallel()
	got, err := testModel(t).Embed(t.Context(), []string{""})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got[0], make([]float32, Dimension)) {
		t.Error("the empty text has a vector that is not zero")
	}
}

func TestEmbedStopsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := testModel(t).Embed(ctx, []string{"text"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	valid, err := DefaultModelDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("no folder", func(t *testing.T) {
		t.Parallel()
		if _, err := Load(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error %v, want fs.ErrNotExist", err)
		}
	})
	t.Run("cut shard", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(valid)); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, "group1-shard7of7"), 1000); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "read tensor") {
			t.Errorf("error %v, want one that names the tensor", err)
		}
	})
}

func BenchmarkEmbed(b *testing.B) {
	m := testModel(b)
	refs := references(b)
	long := refs[len(refs)-1] // 119 tokens
	batch := make([][]int32, len(refs))
	for i, ref := range refs {
		batch[i] = ref.IDs
	}
	for _, bench := range []struct {
		name  string
		texts [][]int32
	}{
		{"one text of 119 tokens", [][]int32{long.IDs}},
		{"one text of 11 tokens", [][]int32{refs[0].IDs}},
		{"50 texts", batch},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := m.EmbedTokens(b.Context(), bench.texts); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*len(bench.texts))/b.Elapsed().Seconds(), "texts/s")
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	dir, err := DefaultModelDir()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Load(dir); err != nil {
			b.Fatal(err)
		}
	}
}
