package embedding

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestContentHash(t *testing.T) {
	t.Parallel()
	same := []string{"Größe\nzwei", "Gro\u0308ße\r\nzwei", "  Größe  \rzwei\n\n", "Gr\x00öße\nzwei"}
	for _, text := range same {
		if ContentHash(text) != ContentHash(same[0]) {
			t.Errorf("%q has another hash than %q", text, same[0])
		}
	}
	for _, text := range []string{"größe\nzwei", "Größe zwei", "Größe\n  zwei", ""} {
		if ContentHash(text) == ContentHash(same[0]) {
			t.Errorf("%q has the hash of %q", text, same[0])
		}
	}
}

func FuzzNormalize(f *testing.F) {
	for _, seed := range []string{"a", "a \r\n b\r", "\xff\x00", "o\u0308\u0323", "o\x00\u0308", "\r\x00\n", " \n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once := Normalize(text)
		if !utf8.ValidString(once) || strings.ContainsAny(once, "\x00\r") {
			t.Errorf("Normalize(%q) = %q", text, once)
		}
		if twice := Normalize(once); twice != once {
			t.Errorf("Normalize(%q) = %q, and again %q", text, once, twice)
		}
		if clipped := Clip(text); len(clipped) > MaxTextBytes || !strings.HasPrefix(text, clipped) {
			t.Errorf("Clip of %d bytes gives %d", len(text), len(clipped))
		}
	})
}

func TestClip(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       int // bytes
	}{
		{"short", "text", 4},
		{"exact", strings.Repeat("a", MaxTextBytes), MaxTextBytes},
		{"one word", strings.Repeat("a", MaxTextBytes+1), MaxTextBytes},
		{"words", strings.Repeat("abcdefgh ", 1000), 8189},
		{"characters of two bytes", strings.Repeat("é", MaxTextBytes), MaxTextBytes - 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := Clip(tt.text)
			if len(got) != tt.want || !utf8.ValidString(got) {
				t.Errorf("%d bytes, valid %v; want %d", len(got), utf8.ValidString(got), tt.want)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		config    Config
		dimension int
		err       string // what the error names; empty is none
	}{
		{"default", Config{APIKey: "k"}, 3072, ""},
		{"shortened", Config{APIKey: "k", Dimension: 1024}, 1024, ""},
		{"small", Config{APIKey: "k", Model: "text-embedding-3-small"}, 1536, ""},
		{"ada", Config{APIKey: "k", Model: "text-embedding-ada-002"}, 1536, ""},
		{"own server", Config{BaseURL: "http://127.0.0.1:1/v1", Model: "own", Dimension: 512}, 512, ""},
		{"no key", Config{}, 0, "OPENAI_API_KEY"},
		{"unknown model", Config{APIKey: "k", Model: "own"}, 0, "OPENAI_EMBEDDING_DIMENSION"},
		{"too many dimensions", Config{APIKey: "k", Dimension: 3073}, 0, "at most 3072"},
		{"ada is fixed", Config{APIKey: "k", Model: "text-embedding-ada-002", Dimension: 512}, 0, "always gives 1536"},
		{"negative dimension", Config{APIKey: "k", Dimension: -1}, 0, "OPENAI_EMBEDDING_DIMENSION"},
		{"no URL", Config{APIKey: "k", BaseURL: "localhost"}, 0, "OPENAI_BASE_URL"},
		{"batch size", Config{APIKey: "k", BatchSize: 2049}, 0, "GRAF_EMBEDDING_BATCH_SIZE"},
		{"timeout", Config{APIKey: "k", Timeout: -1}, 0, "GRAF_EMBEDDING_TIMEOUT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client, err := New(tt.config)
			switch {
			case tt.err == "" && err != nil:
				t.Fatal(err)
			case tt.err == "" && client.Dimension() != tt.dimension:
				t.Errorf("dimension %d, want %d", client.Dimension(), tt.dimension)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error %v, want one that names %s", err, tt.err)
			}
		})
	}
}

func TestConfigHidesKeyInLogs(t *testing.T) {
	t.Parallel()
	if got := (Config{APIKey: "hunter2", Model: "own"}).LogValue().String(); strings.Contains(got, "hunter2") || !strings.Contains(got, "own") {
		t.Errorf("logged as %s", got)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2025, 1, 1, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		key, value string
		want       time.Duration
	}{
		{"Retry-After", "", 0},
		{"Retry-After", "7", 7 * time.Second},
		{"Retry-After", "0.5", 500 * time.Millisecond},
		{"Retry-After", "-1", 0},
		{"Retry-After", "NaN", 0},
		{"Retry-After", "1e300", maxRetryAfter},
		{"Retry-After", "soon", 0},
		{"Retry-After", "Wed, 01 Jan 2025 12:00:30 GMT", 30 * time.Second},
		{"Retry-After", "Wed, 01 Jan 2025 11:00:00 GMT", 0},
		{"Retry-After-Ms", "250", 250 * time.Millisecond},
	}
	for _, tt := range tests {
		if got := retryAfter(http.Header{tt.key: {tt.value}}, now); got != tt.want {
			t.Errorf("%s: %s gives %v, want %v", tt.key, tt.value, got, tt.want)
		}
	}
}
