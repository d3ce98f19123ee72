package embedding

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
)

const (
	testModel     = "test-model"
	testDimension = 4
)

// provider is an embeddings server that answers as its script says, one step
// per request, and properly once the script is over.
type provider struct {
	mu       sync.Mutex
	script   []http.HandlerFunc
	requests []providerRequest
}

type providerRequest struct {
	Input          []string
	Model          string
	Dimensions     *int
	EncodingFormat string `json:"encoding_format"`
	authorization  string
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request := providerRequest{authorization: r.Header.Get("Authorization")}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	n := len(p.requests)
	p.requests = append(p.requests, request)
	p.mu.Unlock()
	if n < len(p.script) {
		p.script[n](w, r)
		return
	}
	dimension := testDimension
	if request.Dimensions != nil {
		dimension = *request.Dimensions
	}
	vectors := make([][]float32, len(request.Input))
	for i, text := range request.Input {
		vectors[i] = make([]float32, dimension)
		vectors[i][0] = float32(len(text)) // tells which text the vector is of
	}
	reply(w, vectors...)
}

// reply answers with vectors in reverse order: only the index says which is whose.
func reply(w http.ResponseWriter, vectors ...[]float32) {
	data := make([]map[string]any, len(vectors))
	for i, vector := range vectors {
		var raw []byte
		for _, x := range vector {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
		}
		data[i] = map[string]any{"object": "embedding", "index": i, "embedding": base64.StdEncoding.EncodeToString(raw)}
	}
	slices.Reverse(data)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"object": "list", "model": testModel, "data": data,
		"usage": map[string]int{"prompt_tokens": 1, "total_tokens": 1},
	})
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprint(w, `{"error":{"message":"as scripted","type":"t","param":null,"code":null}}`)
	}
}

func body(contentType, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		fmt.Fprint(w, text)
	}
}

func vectors(v ...[]float32) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { reply(w, v...) }
}

// cutOff announces more bytes than it sends and closes the connection.
func cutOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "1000")
	fmt.Fprint(w, `{"object":"list","data":[{"emb`)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}
