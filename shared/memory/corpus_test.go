package memory_test

import (
	"math"
	"math/rand/v2"
	"strings"

	"github.com/google/uuid"
)

// corpus makes memories whose statistics are those of real ones: words by
// Zipf's law with a few in every third text, texts about a topic, and vectors
// that lie near their topic's. Real embeddings vary along far fewer directions
// than they have dimensions, so a topic's vectors spread in a subspace.
type corpus struct {
	random *rand.Rand
	zipf   *rand.Zipf
	topics []topic
}

type topic struct {
	words  []string
	center []float32
	axes   [][]float32
}

const (
	corpusDimension = 512
	corpusTopics    = 400
	corpusAxes      = 24
	vocabulary      = 20_000
)

// boilerplate is in about a third of all texts, as such words are in a
// cluster's memories.
var boilerplate = strings.Fields(`deployment replicas container namespace spec
	image restart rollout memory limits requests probe readiness ingress broker`)

func newCorpus(seed uint64) *corpus {
	random := rand.New(rand.NewPCG(seed, 7))
	c := &corpus{random: random, zipf: rand.NewZipf(random, 1.1, 8, vocabulary-1)}
	for range corpusTopics {
		t := topic{center: c.direction(1)}
		for range 30 {
			t.words = append(t.words, word(uint64(random.IntN(vocabulary))))
		}
		for range corpusAxes {
			t.axes = append(t.axes, c.direction(1))
		}
		c.topics = append(c.topics, t)
	}
	return c
}

// direction is a random vector of the given expected length.
func (c *corpus) direction(length float64) []float32 {
	v := make([]float32, corpusDimension)
	scale := length / math.Sqrt(corpusDimension)
	for i := range v {
		v[i] = float32(c.random.NormFloat64() * scale)
	}
	return v
}

// word is the n-th word of the vocabulary; the stemmer leaves it as it is.
func word(n uint64) string {
	const consonants, vowels = "bdfgklmnprtvz", "aou"
	var b strings.Builder
	for range 4 {
		b.WriteByte(consonants[n%13])
		n /= 13
		b.WriteByte(vowels[n%3])
		n /= 3
	}
	return b.String() + "k"
}

// text writes words words about t.
func (c *corpus) text(t topic, words int) string {
	var b strings.Builder
	for i := range words {
		if i > 0 {
			b.WriteByte(" \n"[c.random.IntN(12)/11])
		}
		switch r := c.random.Float64(); {
		case r < 0.30:
			b.WriteString(t.words[c.random.IntN(len(t.words))])
		case r < 0.35:
			b.WriteString(boilerplate[c.random.IntN(len(boilerplate))])
		default:
			b.WriteString(word(c.zipf.Uint64()))
		}
	}
	return b.String()
}

// vector is near t's, with a cosine of about 0.7 to it.
func (c *corpus) vector(t topic) []float32 {
	v := c.direction(0.2)
	for _, axis := range t.axes {
		weight := float32(c.random.NormFloat64() * 0.95 / math.Sqrt(corpusAxes))
		for i := range v {
			v[i] += weight * axis[i]
		}
	}
	for i := range v {
		v[i] += t.center[i]
	}
	return v
}

func (c *corpus) topic() topic { return c.topics[c.random.IntN(len(c.topics))] }

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }
