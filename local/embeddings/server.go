package embeddings

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
)

// Limits of one request. The first two are OpenAI's own; the third keeps one
// request from occupying the machine for minutes.
const (
	maxInputs        = 2048
	maxInputTokens   = 8192
	maxRequestTokens = 300_000
	maxBodyBytes     = 4 << 20
)

// server answers the part of OpenAI's HTTP API that concerns embeddings.
type server struct{ model *Model }

// NewServer returns the handler of POST /v1/embeddings, GET /v1/models and
// GET /v1/models/{model}. Authorization headers are accepted and not looked at:
// it listens on one machine and holds no secret. Errors have OpenAI's shape.
func NewServer(model *Model) http.Handler {
	s := &server{model: model}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/embeddings", s.embeddings)
	mux.HandleFunc("GET /v1/models", s.models)
	mux.HandleFunc("GET /v1/models/{model}", s.describe)
	mux.HandleFunc("/", s.unknown)
	return mux
}

func (s *server) embeddings(w http.ResponseWriter, r *http.Request) {
	response, err := s.embed(w, r)
	if err != nil {
		writeError(w, r, err)
		return
	}
	writeJSON(w, r, http.StatusOK, response)
}

func (s *server) embed(w http.ResponseWriter, r *http.Request) (*listResponse[embeddingObject], error) {
	req, err := readRequest(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		return nil, err
	}
	if err := req.validate(); err != nil {
		return nil, err
	}
	ids, tokens, err := s.tokenize(req.Input)
	if err != nil {
		return nil, err
	}
	vectors, err := s.model.EmbedTokens(r.Context(), ids)
	if err != nil {
		return nil, err
	}
	data := make([]embeddingObject, len(vectors))
	for i, v := range vectors {
		data[i] = embeddingObject{Object: "embedding", Index: i, Embedding: v}
		if req.EncodingFormat == "base64" {
			data[i].Embedding = Base64(v)
		}
	}
	return &listResponse[embeddingObject]{
		Object: "list", Data: data, Model: ModelName,
		Usage: &usage{PromptTokens: tokens, TotalTokens: tokens},
	}, nil
}

func readRequest(body io.Reader) (*request, error) {
	decoder := json.NewDecoder(body)
	var req request
	err := decoder.Decode(&req)
	if err == nil {
		if _, err = decoder.Token(); errors.Is(err, io.EOF) {
			return &req, nil
		}
		if err == nil {
			err = errors.New("data after the object")
		}
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		e := invalid("", "the request body exceeds %d bytes: send fewer texts at a time", tooLarge.Limit)
		e.status = http.StatusRequestEntityTooLarge
		return nil, e
	}
	var input badInput
	if errors.As(err, &input) {
		return nil, invalid("input", "%v", input)
	}
	return nil, invalid("", "the request body is not a JSON object of the expected form: %v", err)
}

func (r *request) validate() error {
	switch {
	case r.Model == "":
		return invalid("model", "model is required: use %q", ModelName)
	case r.Model != ModelName:
		e := invalid("model", "the model %q does not exist here: use %q", r.Model, ModelName)
		code := "model_not_found"
		e.status, e.Code = http.StatusNotFound, &code
		return e
	case len(r.Input) == 0:
		return invalid("input", "input is required and must not be empty")
	case len(r.Input) > maxInputs:
		return invalid("input", "input has %d texts, the limit is %d", len(r.Input), maxInputs)
	case slices.Contains(r.Input, ""):
		return invalid("input", "input[%d] is empty: a text needs at least one character", slices.Index(r.Input, ""))
	case !slices.Contains([]string{"", "float", "base64"}, r.EncodingFormat):
		return invalid("encoding_format", "encoding_format %q is unknown: use \"float\" or \"base64\"", r.EncodingFormat)
	case r.Dimensions != nil && *r.Dimensions != Dimension:
		return invalid("dimensions", "dimensions is %d, but this model's vectors always have %d: leave it out", *r.Dimensions, Dimension)
	}
	return nil
}

// tokenize returns the token ids of each text and how many there are in all.
func (s *server) tokenize(texts []string) (ids [][]int32, total int, err error) {
	ids = make([][]int32, len(texts))
	for i, text := range texts {
		ids[i] = s.model.Tokenize(text)
		if len(ids[i]) > maxInputTokens {
			return nil, 0, invalid("input", "input[%d] has %d tokens, the limit is %d: shorten it", i, len(ids[i]), maxInputTokens)
		}
		total += len(ids[i])
	}
	if total > maxRequestTokens {
		return nil, 0, invalid("input", "the texts have %d tokens in all, the limit is %d: send fewer at a time", total, maxRequestTokens)
	}
	return ids, total, nil
}

func (s *server) models(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, r, http.StatusOK, listResponse[modelObject]{Object: "list", Data: []modelObject{thisModel()}})
}

func (s *server) describe(w http.ResponseWriter, r *http.Request) {
	if err := (&request{Model: r.PathValue("model"), Input: inputs{"-"}}).validate(); err != nil {
		writeError(w, r, err)
		return
	}
	writeJSON(w, r, http.StatusOK, thisModel())
}

// thisModel describes the model. Its creation time is not published: it is 0.
func thisModel() modelObject {
	return modelObject{ID: ModelName, Object: "model", OwnedBy: "graf-local"}
}

func (s *server) unknown(w http.ResponseWriter, r *http.Request) {
	e := invalid("", "unknown request %s %s: this server has POST /v1/embeddings and GET /v1/models", r.Method, r.URL.Path)
	e.status = http.StatusNotFound
	writeError(w, r, e)
}

func writeError(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the caller has gone
	}
	var known *apiError
	if !errors.As(err, &known) {
		slog.ErrorContext(r.Context(), "embedding failed", "error", err)
		known = &apiError{status: http.StatusInternalServerError, Type: "server_error", Message: "internal error"}
	}
	writeJSON(w, r, known.status, map[string]*apiError{"error": known})
}

func writeJSON(w http.ResponseWriter, r *http.Request, status int, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		slog.ErrorContext(r.Context(), "cannot encode the response", "error", err)
		http.Error(w, `{"error":{"message":"internal error","type":"server_error"}}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(raw)))
	w.WriteHeader(status)
	_, _ = w.Write(raw) // an error here means that the caller has gone
}
