package embeddings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func startServer(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(NewServer(testModel(t)))
	t.Cleanup(server.Close)
	return server.URL
}

// call sends body and decodes the answer into out.
func call(t *testing.T, method, url, body string, out any) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		t.Fatalf("%s %s: status %d, body %q: %v", method, url, response.StatusCode, raw, err)
	}
	return response.StatusCode
}

type vectorList[V any] struct {
	Object string
	Model  string
	Data   []struct {
		Object    string
		Index     int
		Embedding V
	}
	Usage struct {
		PromptTokens int `json:"prompt_tokens"`
		TotalTokens  int `json:"total_tokens"`
	}
}

func TestServerEncodings(t *testing.T) {
	t.Parallel()
	url := startServer(t)
	ref := references(t)[0]
	body := func(format string) string {
		text, _ := json.Marshal(ref.Text)
		return fmt.Sprintf(`{"model":%q,"input":[%s,"second"]%s}`, ModelName, text, format)
	}
	var floats vectorList[[]float32]
	if status := call(t, http.MethodPost, url+"/v1/embeddings", body(`,"encoding_format":"float","dimensions":512`), &floats); status != 200 {
		t.Fatalf("float: status %d, want 200", status)
	}
	var packed vectorList[Base64]
	if status := call(t, http.MethodPost, url+"/v1/embeddings", body(`,"encoding_format":"base64"`), &packed); status != 200 {
		t.Fatalf("base64: status %d, want 200", status)
	}
	if floats.Object != "list" || floats.Model != ModelName || len(floats.Data) != 2 || len(packed.Data) != 2 {
		t.Fatalf("envelope %q %q with %d and %d vectors", floats.Object, floats.Model, len(floats.Data), len(packed.Data))
	}
	for i := range floats.Data {
		if floats.Data[i].Index != i || floats.Data[i].Object != "embedding" {
			t.Errorf("vector %d has index %d and object %q", i, floats.Data[i].Index, floats.Data[i].Object)
		}
		if diff := maxDifference(floats.Data[i].Embedding, packed.Data[i].Embedding); diff != 0 {
			t.Errorf("vector %d: the encodings differ by %g", i, diff)
		}
	}
	if diff := maxDifference(floats.Data[0].Embedding, ref.Vector); diff > 1e-5 {
		t.Errorf("differs from the reference by %g", diff)
	}
	want := len(ref.IDs) + len(testModel(t).Tokenize("second"))
	if floats.Usage.PromptTokens != want || floats.Usage.TotalTokens != want {
		t.Errorf("usage %+v, want %d tokens", floats.Usage, want)
	}
}

func TestServerSingleInput(t *testing.T) {
	t.Parallel()
	var got vectorList[[]float32]
	status := call(t, http.MethodPost, startServer(t)+"/v1/embeddings", `{"model":"`+ModelName+`","input":"one text"}`, &got)
	if status != 200 || len(got.Data) != 1 || len(got.Data[0].Embedding) != Dimension {
		t.Errorf("status %d, %d vectors", status, len(got.Data))
	}
}

func TestServerModels(t *testing.T) {
	t.Parallel()
	url := startServer(t)
	var list struct{ Data []struct{ ID string } }
	if status := call(t, http.MethodGet, url+"/v1/models", "", &list); status != 200 || len(list.Data) != 1 || list.Data[0].ID != ModelName {
		t.Errorf("list: status %d, %+v", status, list)
	}
	var one struct{ ID string }
	if status := call(t, http.MethodGet, url+"/v1/models/"+ModelName, "", &one); status != 200 || one.ID != ModelName {
		t.Errorf("one: status %d, %+v", status, one)
	}
}

func TestServerRefuses(t *testing.T) {
	t.Parallel()
	url := startServer(t)
	with := func(fields string) string { return `{"model":"` + ModelName + `",` + fields + `}` }
	many := strings.TrimSuffix(strings.Repeat(`"a",`, maxInputs+1), ",")
	tests := []struct {
		name, method, path, body string
		status                   int
		param, message           string
	}{
		{"malformed JSON", "POST", "/v1/embeddings", `{`, 400, "", "unexpected EOF"},
		{"two objects", "POST", "/v1/embeddings", with(`"input":"a"`) + `{}`, 400, "", "after"},
		{"wrong type", "POST", "/v1/embeddings", with(`"input":"a","dimensions":"x"`), 400, "", "dimensions"},
		{"no model", "POST", "/v1/embeddings", `{"input":"a"}`, 400, "model", "required"},
		{"another model", "POST", "/v1/embeddings", `{"model":"text-embedding-3-large","input":"a"}`, 404, "model", ModelName},
		{"no input", "POST", "/v1/embeddings", with(`"user":"u"`), 400, "input", "required"},
		{"no texts", "POST", "/v1/embeddings", with(`"input":[]`), 400, "input", "must not be empty"},
		{"empty text", "POST", "/v1/embeddings", with(`"input":["a",""]`), 400, "input", "input[1]"},
		{"tokens", "POST", "/v1/embeddings", with(`"input":[1,2]`), 400, "input", "token arrays"},
		{"token arrays", "POST", "/v1/embeddings", with(`"input":[[1,2]]`), 400, "input", "token arrays"},
		{"too many texts", "POST", "/v1/embeddings", with(`"input":[` + many + `]`), 400, "input", "2049"},
		{"long text", "POST", "/v1/embeddings", with(`"input":"` + strings.Repeat("a b ", maxInputTokens) + `"`), 400, "input", "8192"},
		{"other dimensions", "POST", "/v1/embeddings", with(`"input":"a","dimensions":256`), 400, "dimensions", "512"},
		{"other encoding", "POST", "/v1/embeddings", with(`"input":"a","encoding_format":"hex"`), 400, "encoding_format", "base64"},
		{"large body", "POST", "/v1/embeddings", with(`"input":"` + strings.Repeat("a", maxBodyBytes) + `"`), 413, "", "4194304"},
		{"unknown path", "GET", "/v1/other", "", 404, "", "/v1/embeddings"},
		{"wrong method", "GET", "/v1/embeddings", "", 404, "", "POST /v1/embeddings"},
		{"unknown model", "GET", "/v1/models/gpt", "", 404, "model", "gpt"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got struct {
				Error struct{ Message, Type, Param string }
			}
			status := call(t, tt.method, url+tt.path, tt.body, &got)
			if status != tt.status || got.Error.Param != tt.param || got.Error.Type != "invalid_request_error" {
				t.Errorf("status %d, error %+v; want %d and param %q", status, got.Error, tt.status, tt.param)
			}
			if !strings.Contains(got.Error.Message, tt.message) {
				t.Errorf("message %q does not contain %q", got.Error.Message, tt.message)
			}
		})
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add([]byte(`{"model":"m","input":["a"],"dimensions":512}`))
	f.Add([]byte(`{"input":[[1]]}`))
	f.Add([]byte(`{"input":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := readRequest(bytes.NewReader(body))
		if (req == nil) == (err == nil) {
			t.Fatalf("request %v, error %v", req, err)
		}
	})
}
