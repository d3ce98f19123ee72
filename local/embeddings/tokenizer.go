package embeddings

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	// wordStart stands for a space in the vocabulary (SentencePiece's mark).
	wordStart = "\u2581"
	// reservedPieces at the head of the vocabulary are control symbols that
	// never match text; the first of them means "unknown".
	reservedPieces = 6
	unknownID      = 0
)

// tokenizer splits text into pieces of a fixed vocabulary so that the sum of
// the pieces' log probabilities is the highest: the unigram model of
// SentencePiece (Kudo 2018, "Subword Regularization", section 3.2), found with
// Viterbi's algorithm.
type tokenizer struct {
	pieces  map[string]piece
	longest int // bytes of the longest piece
}

type piece struct {
	id    int32
	score float64 // log probability
}

// loadTokenizer reads a JSON array of [piece, score] pairs; an id is a place in
// that array.
func loadTokenizer(path string) (*tokenizer, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the vocabulary: %w", err)
	}
	var entries []vocabularyEntry
	if err := json.Unmarshal(raw, &entries); err != nil {
		return nil, fmt.Errorf("read the vocabulary %s: %w", path, err)
	}
	t := &tokenizer{pieces: make(map[string]piece, len(entries))}
	for i, entry := range entries {
		if i < reservedPieces {
			continue
		}
		t.pieces[entry.text] = piece{id: int32(i), score: entry.score}
		t.longest = max(t.longest, len(entry.text))
	}
	return t, nil
}

type vocabularyEntry struct {
	text  string
	score float64
}

// UnmarshalJSON reads one pair. Seven published scores are null; the reference
// runtime counts them as 0, and so does a float64 that JSON null leaves alone.
func (e *vocabularyEntry) UnmarshalJSON(data []byte) error {
	pair := []any{&e.text, &e.score}
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("vocabulary entry %s is not a pair", data)
	}
	return nil
}

// step is the best way to reach one byte offset of the text.
type step struct {
	score float64
	id    int32
	width int32 // bytes of the last piece; 0 where no piece ends
}

// encode returns the ids of the best segmentation; neighbouring unknown
// characters become one id.
func (t *tokenizer) encode(text string) []int32 {
	text = norm.NFKC.String(text)
	if text == "" {
		return nil
	}
	marked := wordStart + strings.ReplaceAll(text, " ", wordStart)
	return backtrack(t.viterbi(marked))
}

func (t *tokenizer) viterbi(text string) []step {
	best := make([]step, len(text)+1)
	for start := 0; start < len(text); {
		_, first := utf8.DecodeRuneInString(text[start:])
		limit := min(start+t.longest, len(text))
		known := false
		for end := start + first; end <= limit; end++ {
			if end < len(text) && !utf8.RuneStart(text[end]) {
				continue
			}
			if p, ok := t.pieces[text[start:end]]; ok {
				known = true
				relax(best, start, end, p)
			}
		}
		if !known {
			relax(best, start, start+first, piece{id: unknownID})
		}
		start += first
	}
	return best
}

// relax takes the piece that spans [start, end) if it is the better way to end.
// The reference runtime takes a score of 0 for "not reached yet"; this does the
// same, because the ids must be the ones that the model was published with.
func relax(best []step, start, end int, p piece) {
	score := best[start].score + p.score
	if best[end].score == 0 || score >= best[end].score {
		best[end] = step{score: score, id: p.id, width: int32(end - start)} //nolint:gosec // a piece is a few bytes
	}
}

func backtrack(best []step) []int32 {
	var ids []int32
	for at := len(best) - 1; at > 0; at -= int(best[at].width) {
		id := best[at].id
		if id == unknownID && len(ids) > 0 && ids[len(ids)-1] == unknownID {
			continue
		}
		ids = append(ids, id)
	}
	slices.Reverse(ids)
	return ids
}
