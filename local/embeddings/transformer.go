package embeddings

import (
	"math"

	"github.com/viterin/vek/vek32"
)

// layerNormEpsilon keeps layer normalisation from dividing by zero.
const layerNormEpsilon = 1e-6

// workspace is the memory of one forward pass over at most WindowTokens tokens,
// about 3 MB, allocated once and used again and again.
type workspace struct {
	input    []float32 // tokens × inputWidth
	residual []float32 // tokens × hidden
	normed   []float32 // tokens × hidden
	wide     []float32 // tokens × 3·hidden or feedHidden
	context  []float32 // tokens × hidden: the heads' outputs side by side
	attended []float32 // tokens × hidden
	head     headspace
	vector   []float32 // Dimension: the result
}

// headspace holds one attention head's matrices, gathered from queryKeyValue's
// output so that each is contiguous.
type headspace struct {
	query  []float32 // tokens × head width
	key    []float32 // head width × tokens: transposed
	value  []float32 // tokens × head width
	scores []float32 // tokens × tokens
	output []float32 // tokens × head width
}

func newWorkspace() *workspace {
	tokens := func(width int) []float32 { return make([]float32, WindowTokens*width) }
	return &workspace{
		input:    tokens(inputWidth),
		residual: tokens(hidden),
		normed:   tokens(hidden),
		wide:     tokens(max(3*hidden, feedHidden)),
		context:  tokens(hidden),
		attended: tokens(hidden),
		head: headspace{
			query:  tokens(hidden / heads),
			key:    tokens(hidden / heads),
			value:  tokens(hidden / heads),
			scores: tokens(WindowTokens),
			output: tokens(hidden / heads),
		},
		vector: make([]float32, Dimension),
	}
}

// run computes the vector of 1 to WindowTokens tokens into w.vector.
//
// The network is the transformer encoder of Cer et al. 2018, "Universal
// Sentence Encoder", section 3.1, in its Lite variant: pre-normalised blocks,
// the mean over the tokens, a tanh layer, norm 1.
func (n *network) run(w *workspace, ids []int32) {
	tokens := len(ids)
	n.embed(w.input, ids)
	residual := n.adjust.apply(w.residual, w.input[:tokens*inputWidth])
	input := w.input[:tokens*inputWidth]
	for i := range n.layers {
		n.layers[i].run(w, input, residual, tokens)
		input = residual
	}
	mean := w.normed[:hidden]
	clear(mean)
	for t := range tokens {
		vek32.Add_Inplace(mean, residual[t*hidden:(t+1)*hidden])
	}
	vek32.DivNumber_Inplace(mean, float32(tokens))
	vector := n.output.apply(w.vector, mean)
	for i, v := range vector {
		vector[i] = float32(math.Tanh(float64(v)))
	}
	normalize(vector)
}

// embed looks the tokens up and adds their places as sines and cosines. The
// published graph adds the embedding to itself (embedding + (embedding +
// timing)), hence the factor two.
func (n *network) embed(dst []float32, ids []int32) {
	const half = inputWidth / 2
	for t, id := range ids {
		row := dst[t*inputWidth : (t+1)*inputWidth]
		copy(row, n.embeddings[int(id)*inputWidth:])
		for i, frequency := range n.timing {
			sin, cos := math.Sincos(float64(float32(t) * frequency))
			row[i] = 2*row[i] + float32(sin)
			row[half+i] = 2*row[half+i] + float32(cos)
		}
	}
}

// run computes residual += attention(input); residual += feedForward(residual).
// input may be residual itself.
func (l *layer) run(w *workspace, input, residual []float32, tokens int) {
	normed := l.beforeAttention.apply(w.normed, input, l.width)
	queryKeyValue := l.queryKeyValue.apply(w.wide, normed)
	context := w.context[:tokens*l.width]
	for head := range heads {
		w.head.run(context, queryKeyValue, l.width, head, tokens)
	}
	vek32.Add_Inplace(residual, l.join.apply(w.attended, context))

	normed = l.beforeFeed.apply(w.normed, residual, hidden)
	wide := l.feedIn.apply(w.wide, normed)
	for i, v := range wide {
		wide[i] = max(v, 0)
	}
	vek32.Add_Inplace(residual, l.feedOut.apply(w.attended, wide))
}

// run writes softmax(query·keyᵀ/√width)·value of one head into its columns of
// context.
func (h *headspace) run(context, queryKeyValue []float32, layerWidth, head, tokens int) {
	width := layerWidth / heads
	query, key, value := h.query[:tokens*width], h.key[:tokens*width], h.value[:tokens*width]
	for t := range tokens {
		row := queryKeyValue[t*3*layerWidth+head*width:]
		copy(query[t*width:(t+1)*width], row)
		copy(value[t*width:(t+1)*width], row[2*layerWidth:])
		for i, k := range row[layerWidth : layerWidth+width] {
			key[i*tokens+t] = k
		}
	}
	vek32.MulNumber_Inplace(query, float32(1/math.Sqrt(float64(width))))
	scores := vek32.MatMul_Into(h.scores, query, key, width)
	for t := range tokens {
		softmax(scores[t*tokens : (t+1)*tokens])
	}
	output := vek32.MatMul_Into(h.output, scores, value, tokens)
	for t := range tokens {
		copy(context[t*layerWidth+head*width:], output[t*width:(t+1)*width])
	}
}

// apply computes x·weights + bias for every row of x into dst.
func (l *linear) apply(dst, x []float32) []float32 {
	y := vek32.MatMul_Into(dst, x, l.weights, l.in)
	for row := y; len(row) > 0; row = row[l.out:] {
		vek32.Add_Inplace(row[:l.out], l.bias)
	}
	return y
}

// apply brings every row of x to mean 0 and variance 1, then scales and shifts
// it, into dst (layer normalisation, Ba et al. 2016).
func (s *scaleShift) apply(dst, x []float32, width int) []float32 {
	dst = dst[:len(x)]
	for start := 0; start < len(x); start += width {
		row := x[start : start+width]
		var sum, squares float64
		for _, v := range row {
			sum += float64(v)
		}
		mean := sum / float64(width)
		for _, v := range row {
			squares += (float64(v) - mean) * (float64(v) - mean)
		}
		inverse := 1 / math.Sqrt(squares/float64(width)+layerNormEpsilon)
		for i, v := range row {
			dst[start+i] = float32((float64(v)-mean)*inverse)*s.scale[i] + s.shift[i]
		}
	}
	return dst
}

// softmax replaces x by exp(x)/Σexp(x); subtracting the maximum first keeps the
// exponentials finite.
func softmax(x []float32) {
	highest := vek32.Max(x)
	var sum float32
	for i, v := range x {
		x[i] = float32(math.Exp(float64(v - highest)))
		sum += x[i]
	}
	vek32.DivNumber_Inplace(x, sum)
}

// normalize brings v to Euclidean norm 1; a zero vector stays what it is.
func normalize(v []float32) {
	var squares float64
	for _, x := range v {
		squares += float64(x) * float64(x)
	}
	vek32.MulNumber_Inplace(v, float32(1/math.Sqrt(max(squares, 1e-12))))
}
