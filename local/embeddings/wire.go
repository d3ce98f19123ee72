package embeddings

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
)

// Base64 is a vector that travels as base64 of little-endian float32 numbers:
// OpenAI's encoding_format "base64", exact and a quarter of the size of text.
type Base64 []float32

// MarshalJSON implements json.Marshaler.
func (v Base64) MarshalJSON() ([]byte, error) {
	raw := make([]byte, 0, 4*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return json.Marshal(base64.StdEncoding.EncodeToString(raw))
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Base64) UnmarshalJSON(data []byte) error {
	var raw []byte
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	if len(raw)%4 != 0 {
		return fmt.Errorf("%d bytes are no whole number of float32", len(raw))
	}
	*v = make([]float32, len(raw)/4)
	for i := range *v {
		(*v)[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return nil
}

// request is the body of POST /v1/embeddings.
type request struct {
	Input          inputs `json:"input"`
	Model          string `json:"model"`
	EncodingFormat string `json:"encoding_format"`
	Dimensions     *int   `json:"dimensions"`
	User           string `json:"user"`
}

// inputs is a string or an array of strings. The other two forms of OpenAI's
// API, arrays of token ids, need the caller to have this model's vocabulary.
type inputs []string

// UnmarshalJSON implements json.Unmarshaler.
func (in *inputs) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*in = inputs{one}
		return nil
	}
	var many []string
	if json.Unmarshal(data, &many) == nil {
		*in = many
		return nil
	}
	return badInput{}
}

// badInput is the error for an input that is neither text nor an array of texts.
type badInput struct{}

func (badInput) Error() string {
	return "input must be a string or an array of strings; token arrays are not supported by this server: send the text itself"
}

// listResponse is OpenAI's list envelope.
type listResponse[T any] struct {
	Object string `json:"object"` // always "list"
	Data   []T    `json:"data"`
	Model  string `json:"model,omitempty"`
	Usage  *usage `json:"usage,omitempty"`
}

type embeddingObject struct {
	Object    string `json:"object"` // always "embedding"
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"` // Base64 or []float32
}

type usage struct {
	PromptTokens int `json:"prompt_tokens"`
	TotalTokens  int `json:"total_tokens"`
}

type modelObject struct {
	ID      string `json:"id"`
	Object  string `json:"object"` // always "model"
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// apiError is OpenAI's error object.
type apiError struct {
	status  int
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

func (e *apiError) Error() string { return e.Message }

// invalid is a 400 that names the parameter to mend.
func invalid(param, format string, args ...any) *apiError {
	e := &apiError{status: 400, Type: "invalid_request_error", Message: fmt.Sprintf(format, args...)}
	if param != "" {
		e.Param = &param
	}
	return e
}
