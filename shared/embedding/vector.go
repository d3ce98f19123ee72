package embedding

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	openai "github.com/openai/openai-go/v3"
)

// decode reads a vector in either form: base64 of little-endian float32, or an
// array of numbers. The client library reads only the second in the versions
// that leave the binaries small.
func decode(item openai.Embedding) ([]float32, error) {
	raw := item.JSON.Embedding.Raw()
	if strings.HasPrefix(raw, `"`) {
		return decodeBase64(strings.Trim(raw, `"`))
	}
	vector := make([]float32, len(item.Embedding))
	for i, v := range item.Embedding {
		vector[i] = float32(v)
	}
	return vector, nil
}

func decodeBase64(text string) ([]float32, error) {
	// JSON may escape base64's slash.
	raw, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(text, `\/`, "/"))
	if err != nil {
		return nil, err
	}
	if len(raw)%4 != 0 {
		return nil, fmt.Errorf("%d bytes are no whole number of float32", len(raw))
	}
	vector := make([]float32, len(raw)/4)
	for i := range vector {
		vector[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return vector, nil
}

// checkDirection refuses vectors that have no direction: pgvector stores no NaN
// and no infinity, and a zero vector's cosine distance to anything is NaN.
func checkDirection(vector []float32) error {
	zero := true
	for i, v := range vector {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("component %d of its vector is %v", i, v)
		}
		zero = zero && v == 0
	}
	if zero {
		return errors.New("its vector is zero")
	}
	return nil
}
