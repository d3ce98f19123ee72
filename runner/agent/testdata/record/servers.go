package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"sync"
	"time"
)

type object = map[string]any

// turn is what a request to the model is answered with.
type turn struct {
	content []object
	// stop is the reason to stop, by default that of its content; "error" is an error of
	// the API's in the midst of the answer.
	stop string
	// status is that of an error, 0 for none; kind, message and retryAfter go with it.
	status                    int
	kind, message, retryAfter string
	delay                     time.Duration
}

// model serves Anthropic's Messages API. Its last turn answers all later requests, too.
type model struct {
	mu    sync.Mutex
	turns []turn
	asked int
	// number makes ids, of later runs with a session as well.
	number int
}

func (m *model) restart(turns []turn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turns, m.asked = turns, 0
}

func (m *model) next() (turn, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	m.number++
	return m.turns[min(m.asked, len(m.turns))-1], m.number
}

func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var request struct{ Model string }
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil || r.URL.Path != "/v1/messages" || r.Header.Get("X-Api-Key") == "" {
		log.Printf("not expected: %s %s: %v", r.Method, r.URL, err)
		http.NotFound(w, r)
		return
	}
	turn, number := m.next()
	select {
	case <-r.Context().Done():
		return
	case <-time.After(turn.delay):
	}
	if turn.status != 0 {
		turn.refuse(w)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, event := range turn.events(request.Model, fmt.Sprintf("msg_%02d", number)) {
		data, _ := json.Marshal(event) // it is made of texts and numbers
		fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event["type"], data)
		w.(http.Flusher).Flush()
	}
}

func (t turn) refuse(w http.ResponseWriter) {
	if t.retryAfter != "" {
		w.Header().Set("Retry-After", t.retryAfter)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(t.status)
	_ = json.NewEncoder(w).Encode(object{"type": "error", "error": object{"type": t.kind, "message": t.message}})
}

// usage is what each message uses: 1004 tokens of input, 700 of them cached, and 60 of
// output when it is complete, 40 of them of thinking.
func usage(output, thinking int) object {
	return object{
		"input_tokens": 4, "cache_creation_input_tokens": 300, "cache_read_input_tokens": 700, "output_tokens": output,
		"output_tokens_details": object{"thinking_tokens": thinking},
	}
}

func (t turn) events(model, id string) []object {
	events := []object{{"type": "message_start", "message": object{
		"id": id, "type": "message", "role": "assistant", "model": model, "content": []object{},
		"stop_reason": nil, "stop_sequence": nil, "usage": usage(1, 0),
	}}}
	stop := "end_turn"
	for i, block := range t.content {
		if block["type"] == "tool_use" {
			stop = "tool_use"
		}
		start, deltas := stream(block)
		events = append(events, object{"type": "content_block_start", "index": i, "content_block": start})
		for _, delta := range deltas {
			events = append(events, object{"type": "content_block_delta", "index": i, "delta": delta})
		}
		events = append(events, object{"type": "content_block_stop", "index": i})
	}
	switch t.stop {
	case "error":
		return append(events, object{"type": "error", "error": object{"type": "overloaded_error", "message": "Overloaded"}})
	case "":
	default:
		stop = t.stop
	}
	return append(events,
		object{"type": "message_delta", "delta": object{"stop_reason": stop, "stop_sequence": nil}, "usage": usage(60, 40)},
		object{"type": "message_stop"})
}

// stream is how a block is begun, and what is added to it.
func stream(block object) (start object, deltas []object) {
	switch block["type"] {
	case "tool_use":
		input, _ := json.Marshal(block["input"]) // as above
		return object{"type": "tool_use", "id": block["id"], "name": block["name"], "input": object{}},
			[]object{{"type": "input_json_delta", "partial_json": string(input)}}
	case "thinking":
		return object{"type": "thinking", "thinking": "", "signature": ""},
			[]object{{"type": "thinking_delta", "thinking": block["thinking"]}, {"type": "signature_delta", "signature": "c2ln"}}
	default:
		return object{"type": "text", "text": ""}, []object{{"type": "text_delta", "text": block["text"]}}
	}
}

// token is the one that the MCP server wants.
const token = "callback-token"

// serveMCP serves one tool by the Model Context Protocol, without sessions or streams.
func serveMCP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // what is cut off is no message
	var message struct {
		ID     json.RawMessage
		Method string
		Params struct{ ProtocolVersion string }
	}
	switch {
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case r.Header.Get("Authorization") != "Bearer "+token:
		w.WriteHeader(http.StatusUnauthorized)
		return
	case json.Unmarshal(body, &message) != nil || message.ID == nil:
		w.WriteHeader(http.StatusAccepted)
		return
	}
	answer := object{"jsonrpc": "2.0", "id": message.ID}
	switch message.Method {
	case "initialize":
		answer["result"] = object{
			"protocolVersion": message.Params.ProtocolVersion, "capabilities": object{"tools": object{}},
			"serverInfo": object{"name": "graf", "version": "1"},
		}
	case "tools/list":
		answer["result"] = object{"tools": []object{{
			"name": "record_lesson", "description": "Records a lesson.",
			"inputSchema": object{"type": "object", "properties": object{"lesson": object{"type": "string"}}},
		}}}
	case "tools/call":
		answer["result"] = object{"content": []object{{"type": "text", "text": "The lesson is recorded."}}}
	default:
		answer["error"] = object{"code": -32601, "message": "method not found"}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // that the client is gone is no error
}
