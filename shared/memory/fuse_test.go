package memory

import (
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"
)

// of makes a candidate whose content, memory and task are told by letters.
func of(content, task byte) candidate {
	return candidate{id: uuid.UUID{content}, task: uuid.UUID{task}, hash: [32]byte{content}}
}

func contents(found []candidate) string {
	var b strings.Builder
	for _, c := range found {
		b.WriteByte(c.hash[0])
	}
	return b.String()
}

func TestFuse(t *testing.T) {
	t.Parallel()
	a, b, c, d := of('a', 1), of('b', 2), of('c', 3), of('d', 4)
	tests := []struct {
		name     string
		rankings [][]candidate
		limit    int
		want     string
		first    float64
	}{
		{"nothing", nil, 10, "", 0},
		{"one ranking keeps its order", [][]candidate{{c, a, b}}, 10, "cab", 1},
		{"first by both scores 1", [][]candidate{{a, b}, {a, c}}, 1, "a", 1},
		{"found by both is before found by one", [][]candidate{{a, b}, {c, b}}, 1, "b", 61.0 / 62},
		{"first by one of two scores a half", [][]candidate{{a}, {}}, 1, "a", 0.5},
		{"the limit cuts the worst", [][]candidate{{a, b, c, d}}, 3, "abc", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := fuse(test.rankings, test.limit)
			if contents(got) != test.want {
				t.Fatalf("fused to %q, want %q", contents(got), test.want)
			}
			if len(got) > 0 && math.Abs(got[0].score-test.first) > 1e-9 {
				t.Errorf("first score %f, want %f", got[0].score, test.first)
			}
		})
	}
}

func TestFuseSpreadsOverTasks(t *testing.T) {
	t.Parallel()
	chatty := []candidate{of('a', 1), of('b', 1), of('c', 1), of('d', 1), of('e', 1), of('x', 2), of('y', 3)}
	for limit, want := range map[int]string{5: "abcxy", 6: "abcdxy", 7: "abcdexy"} {
		if got := contents(fuse([][]candidate{chatty}, limit)); got != want {
			t.Errorf("limit %d: %q, want %q", limit, got, want)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	weigh := func(memories ...float64) []term {
		terms := make([]term, len(memories))
		for i, n := range memories {
			terms[i] = term{position: i, texts: n, weight: inverseFrequency(100_000, n)}
		}
		choose(terms)
		return terms
	}
	searched := func(terms []term) (n int) {
		for _, t := range terms {
			if t.searched {
				n++
			}
		}
		return n
	}
	if n := searched(weigh(10, 30_000, 500)); n != 2 {
		t.Errorf("%d terms, want the two that are rare enough", n)
	}
	if terms := weigh(50_000, 30_000); searched(terms) != 1 || terms[0].texts != 30_000 || !terms[0].searched {
		t.Errorf("%+v: want the rarer one alone where all are common", terms)
	}
	if n := searched(weigh(make([]float64, 100)...)); n != maxTerms {
		t.Errorf("%d terms, want %d", n, maxTerms)
	}
	if terms := weigh(0, 0, 0); !slices.IsSortedFunc(terms, func(a, b term) int { return a.position - b.position }) {
		t.Errorf("%+v: equal terms are not in the order of the text", terms)
	}
}

func TestSnippet(t *testing.T) {
	t.Parallel()
	filler := strings.Repeat("nothing of note in this line at all\n", 20)
	content := filler + "the availability of the ingress needs three replicas\n" + filler
	got := snippet(content, []term{{lexeme: "availabl", weight: 1}, {lexeme: "replica", weight: 5}, {lexeme: "memori", weight: 1}})
	if !strings.Contains(got, "three replicas") || len(got) > SnippetBytes || !strings.HasPrefix(got, "the availability") {
		t.Errorf("snippet %q", got)
	}
	if got := snippet(content, nil); !strings.HasPrefix(content, got) || got == "" {
		t.Errorf("without terms: %q, want the beginning", got)
	}
	if got := snippet("short", nil); got != "short" {
		t.Errorf("short: %q", got)
	}
}

func FuzzSnippet(f *testing.F) {
	f.Add(strings.Repeat("a word and\n", 100), "word")
	f.Add(strings.Repeat("€", 1000), "€")
	f.Fuzz(func(t *testing.T, content, lexeme string) {
		content = strings.ToValidUTF8(content, "?")
		got := snippet(content, []term{{lexeme: lexeme, weight: 1}})
		if len(got) > SnippetBytes || !utf8.ValidString(got) || !strings.Contains(content, got) {
			t.Errorf("snippet(%q) = %q", content, got)
		}
	})
}

func BenchmarkSnippet(b *testing.B) {
	content := strings.Repeat("some forty bytes of a line in a memory\n", 40)
	terms := make([]term, 100)
	for i := range terms {
		terms[i] = term{lexeme: string(rune('a'+i%26)) + "bcd", weight: 1}
	}
	for b.Loop() {
		snippet(content, terms)
	}
}
