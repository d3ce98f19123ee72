package broker

import (
	"bytes"
	"encoding/base64"
	"testing"
)

func TestErrorDataIsCut(t *testing.T) {
	t.Parallel()
	body := bytes.Repeat([]byte("é"), 1000)
	if got, want := errorData(body), base64.StdEncoding.EncodeToString(body)[:1024]; got != want {
		t.Errorf("errorData = %d characters, want %d", len(got), len(want))
	}
}
