package memory_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/graf-run/graf/shared/memory"
	"github.com/graf-run/graf/shared/postgres/query"
	"github.com/graf-run/graf/shared/postgrestest"
	"github.com/graf-run/graf/shared/tasktest"
)

func TestChunks(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("x", 999) + "\n"
	tests := []struct {
		name, text string
		sizes      []int
	}{
		{"empty", "", nil},
		{"blank", " \n\t\n", nil},
		{"short", "  one text \n", []int{8}},
		{"just fits", strings.Repeat("x", memory.ChunkBytes), []int{memory.ChunkBytes}},
		{"at line ends", line + line + line, []int{999, 999, 999}},
		{"at spaces", strings.Repeat("word ", 400), []int{memory.ChunkBytes - 1, 399}},
		{"between characters", strings.Repeat("€", 600), []int{memory.ChunkBytes - 1, 201}},
		{"not a screen from a line end near its start", "x\n" + strings.Repeat("y", 2000), []int{memory.ChunkBytes, 402}},
		{"without what Postgres refuses", "a\x00b\xff", []int{5}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			chunks := memory.Chunks(test.text)
			if len(chunks) != len(test.sizes) {
				t.Fatalf("%d chunks, want %d", len(chunks), len(test.sizes))
			}
			for i, chunk := range chunks {
				if len(chunk) != test.sizes[i] {
					t.Errorf("chunk %d has %d bytes, want %d", i, len(chunk), test.sizes[i])
				}
			}
		})
	}
	if n := len(memory.Chunks(strings.Repeat("word ", 100_000))); n != memory.MaxChunks {
		t.Errorf("a long text has %d chunks, want %d", n, memory.MaxChunks)
	}
}

func FuzzChunks(f *testing.F) {
	f.Add("a text\nof two lines")
	f.Add(strings.Repeat("é ", 2000) + "\xff\x00")
	f.Fuzz(func(t *testing.T, text string) {
		for _, chunk := range memory.Chunks(text) {
			if chunk == "" || len(chunk) > memory.ChunkBytes || !utf8.ValidString(chunk) || strings.Contains(chunk, "\x00") {
				t.Errorf("bad chunk %q", chunk)
			}
		}
	})
}

func TestWriteTwiceIsOnce(t *testing.T) {
	t.Parallel()
	db := postgrestest.New(t)
	task := tasktest.Queued(t, db, tasktest.Task{Prompt: "the prompt"})
	write := func(parts ...memory.Part) {
		t.Helper()
		if err := memory.Write(t.Context(), query.New(db), memory.Task{ID: task.ID}, parts...); err != nil {
			t.Fatal(err)
		}
	}
	write()
	for range 2 {
		write(memory.Part{Kind: memory.KindEvent, Number: 1, Text: strings.Repeat("word ", 400)},
			memory.Part{Kind: memory.KindEvent, Number: 2, Text: "second", Metadata: map[string]any{"eventType": "progress"}},
			memory.Part{Kind: memory.KindOutcome, Text: " "})
	}
	var rows int
	err := db.QueryRow(t.Context(), "SELECT count(*) FROM codex_task_memory_index WHERE kind <> 'prompt'").Scan(&rows)
	if err != nil || rows != 3 {
		t.Errorf("%d memories, %v; want the two chunks of the first event and the second", rows, err)
	}
}

func TestWriteRefusesMetadataThatIsNotJSON(t *testing.T) {
	t.Parallel()
	part := memory.Part{Kind: memory.KindEvent, Text: "x", Metadata: map[string]any{"f": func() {}}}
	if err := memory.Write(t.Context(), nil, memory.Task{}, part); err == nil {
		t.Error("no error")
	}
}
