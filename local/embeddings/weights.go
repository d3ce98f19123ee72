package embeddings

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// The sizes of the published network.
const (
	inputWidth = 256  // of a token's embedding
	hidden     = 512  // of every later activation
	feedHidden = 1536 // inside the feed-forward blocks
	heads      = 4    // of each attention block
	layers     = 2
)

// linear is y = x·weights + bias. The weights stay in the row-major in × out
// layout that they are published in: no second, transposed copy is held.
type linear struct {
	in, out int
	weights []float32
	bias    []float32
}

// scaleShift holds a layer normalisation's learned parameters.
type scaleShift struct{ scale, shift []float32 }

// layer is one transformer layer. Its attention reads width numbers per token
// (the first layer 256, the second 512); its output has hidden numbers.
type layer struct {
	width               int
	beforeAttention     scaleShift
	queryKeyValue, join linear
	beforeFeed          scaleShift
	feedIn, feedOut     linear
}

// network is the whole model: 28 MB of float32.
type network struct {
	embeddings []float32 // vocabulary × inputWidth
	timing     []float32 // inputWidth/2 angular frequencies of the position signal
	adjust     linear    // inputWidth → hidden, the residual path into the first layer
	layers     [layers]layer
	output     linear
}

// manifest is the part of a TensorFlow.js model.json that says where the
// weights are: one byte stream, cut into shards, tensor after tensor.
type manifest struct {
	WeightsManifest []struct {
		Paths   []string     `json:"paths"`
		Weights []tensorSpec `json:"weights"`
	} `json:"weightsManifest"`
}

type tensorSpec struct {
	Name  string `json:"name"`
	Shape []int  `json:"shape"`
	Dtype string `json:"dtype"`
}

func (s tensorSpec) size() int {
	n := 1
	for _, d := range s.Shape {
		n *= d
	}
	return n
}

// tensors finds tensors by the end of their name, once each, and remembers what
// was wrong, so that the assembly below can be read as a table.
type tensors struct {
	byName map[string][]float32
	errs   []error
}

// take returns the tensor whose name ends with suffix.
func (t *tensors) take(suffix string, size int) []float32 {
	for name, values := range t.byName {
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		if len(values) != size {
			t.errs = append(t.errs, fmt.Errorf("tensor %s has %d numbers, want %d", name, len(values), size))
		}
		return values
	}
	t.errs = append(t.errs, fmt.Errorf("no tensor %s", suffix))
	return nil
}

func (t *tensors) linear(weights, bias string, in, out int) linear {
	return linear{in: in, out: out, weights: t.take(weights, in*out), bias: t.take(bias, out)}
}

func (t *tensors) scaleShift(prefix string, width int) scaleShift {
	prefix += "layer_prepostprocess/layer_norm/layer_norm_"
	return scaleShift{
		scale: t.take(prefix+"scale/ConcatPartitions/concat", width),
		shift: t.take(prefix+"bias/ConcatPartitions/concat", width),
	}
}

func (t *tensors) layer(index, width int) layer {
	own := fmt.Sprintf("Encode/Layer_%d/TransformerLayer/", index)
	stack := fmt.Sprintf("TransformerStack/Layer_%d/TransformerLayer/FFN/", index)
	attention := own + "MultiheadAttention/"
	return layer{
		width:           width,
		beforeAttention: t.scaleShift(own, width),
		queryKeyValue: t.linear(attention+"qkv_transform_single/kernel/part_0",
			attention+"qkv_transform_single/bias/ConcatPartitions/concat", width, 3*width),
		join: t.linear(attention+"output_transform_single/kernel/part_0",
			attention+"output_transform_single/bias/ConcatPartitions/concat", width, hidden),
		beforeFeed: t.scaleShift(own+"FFN/", hidden),
		feedIn:     t.linear(stack+"conv1/Tensordot/Reshape_1", own+"FFN/conv1/bias/ConcatPartitions/concat", hidden, feedHidden),
		feedOut:    t.linear(stack+"conv2/Tensordot/Reshape_1", own+"FFN/conv2/bias/ConcatPartitions/concat", feedHidden, hidden),
	}
}

// loadNetwork reads model.json and its shards from dir.
func loadNetwork(dir string) (*network, error) {
	byName, err := readTensors(dir)
	if err != nil {
		return nil, err
	}
	t := &tensors{byName: byName}
	const dense = "Encode/Layer_0/TransformerLayer/dense/"
	n := &network{
		embeddings: byName["module/Embeddings_en"],
		timing:     t.take("AddTimingSignal/TimingSignal/ExpandDims_1", inputWidth/2),
		adjust:     t.linear(dense+"kernel/ConcatPartitions/concat", dense+"bias/ConcatPartitions/concat", inputWidth, hidden),
		layers:     [layers]layer{t.layer(0, inputWidth), t.layer(1, hidden)},
		output:     t.linear("hidden_layers/tanh_layer_0/weights", "hidden_layers/tanh_layer_0/bias", hidden, Dimension),
	}
	if err := errors.Join(t.errs...); err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	return n, nil
}

// readTensors streams the shards, so that only the numbers themselves are ever
// in memory, not the files beside them.
func readTensors(dir string) (map[string][]float32, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "model.json"))
	if err != nil {
		return nil, fmt.Errorf("read the model's description: %w", err)
	}
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("read the model's description: %w", err)
	}
	if len(m.WeightsManifest) != 1 {
		return nil, fmt.Errorf("model.json describes %d groups of weights, want 1", len(m.WeightsManifest))
	}
	group := m.WeightsManifest[0]
	stream, closeAll, err := openShards(dir, group.Paths)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	found := make(map[string][]float32)
	for _, spec := range group.Weights {
		values, err := readTensor(stream, spec)
		if err != nil {
			return nil, fmt.Errorf("read tensor %s: %w", spec.Name, err)
		}
		if spec.Dtype == "float32" {
			found[spec.Name] = values
		}
	}
	if _, err := stream.Peek(1); !errors.Is(err, io.EOF) {
		return nil, errors.New("the shards hold more bytes than model.json describes")
	}
	return found, nil
}

func openShards(dir string, names []string) (*bufio.Reader, func(), error) {
	files := make([]*os.File, 0, len(names))
	closeAll := func() {
		for _, f := range files {
			_ = f.Close() // read only: nothing can be lost
		}
	}
	readers := make([]io.Reader, 0, len(names))
	for _, name := range names {
		f, err := os.Open(filepath.Join(dir, filepath.Base(name)))
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("open the weights: %w", err)
		}
		files = append(files, f)
		readers = append(readers, f)
	}
	return bufio.NewReaderSize(io.MultiReader(readers...), 1<<16), closeAll, nil
}

// readTensor reads a tensor of 4-byte little-endian numbers.
func readTensor(r io.Reader, spec tensorSpec) ([]float32, error) {
	if spec.Dtype != "float32" && spec.Dtype != "int32" {
		return nil, fmt.Errorf("unexpected type %q", spec.Dtype)
	}
	values := make([]float32, spec.size())
	var buffer [1 << 14]byte
	for done := 0; done < len(values); {
		part := buffer[:4*min(len(buffer)/4, len(values)-done)]
		if _, err := io.ReadFull(r, part); err != nil {
			return nil, err
		}
		for ; len(part) > 0; part = part[4:] {
			values[done] = math.Float32frombits(binary.LittleEndian.Uint32(part))
			done++
		}
	}
	return values, nil
}
