package main

import (
	"bytes"
	"encoding/json"
	"log"
	"regexp"
	"strings"
)

// trimmer makes recordings small, and takes out what is of the machine and of the moment.
type trimmer struct {
	folder, session string
}

// sessionID stands for each recorded session.
const sessionID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"

// noise are fields that nothing reads, and that differ from run to run or tell much of
// the CLI itself.
var noise = map[string]bool{
	"uuid": true, "timestamp": true, "request_id": true, "diagnostics": true, "container": true, "context_management": true,
	"duration_ms": true, "duration_api_ms": true, "ttft_ms": true, "ttft_stream_ms": true, "time_to_request_ms": true,
	"first_content_frame_ms": true, "thinking_duration_ms": true, "subagent_stats": true, "tool_result_meta": true,
	"tool_use_result": true, "end_time": true, "output_file": true, "run_id": true, "fast_mode_state": true,
	"fast_mode_disabled_reason": true, "server_tool_use": true, "cache_creation": true, "stop_details": true,
	"cacheCreationEphemeral1hInputTokens": true, "cacheCreationEphemeral5mInputTokens": true, "canonicalModel": true,
	"contextWindow": true, "costBasis": true, "maxOutputTokens": true, "provider": true, "webSearchRequests": true,
	"inference_geo": true, "iterations": true, "service_tier": true, "speed": true, "fallback_credit": true,
}

// kept are the fields of an init event that stay: the rest lists the CLI's tools and skills.
var kept = []string{"type", "subtype", "session_id", "cwd", "mcp_servers", "model", "permissionMode", "apiKeySource", "claude_code_version"}

// maxString is what a string keeps: longer ones are the CLI's own words to the model.
const maxString = 100

var loopback = regexp.MustCompile(`127\.0\.0\.1:\d+`)

func (t trimmer) all(lines string) []byte {
	return t.each(lines, func(event object) object {
		if event["subtype"] != "init" {
			return event
		}
		init := object{}
		for _, field := range kept {
			init[field] = event[field]
		}
		return init
	})
}

// usages keeps what a session's file tells of usage.
func (t trimmer) usages(lines string) []byte {
	return t.each(lines, func(event object) object {
		message, ok := event["message"].(object)
		if !ok || event["type"] != "assistant" || message["model"] == "<synthetic>" {
			return nil
		}
		return object{"type": "assistant", "sessionId": event["sessionId"], "message": object{
			"id": message["id"], "model": message["model"], "usage": message["usage"],
		}}
	})
}

func (t trimmer) each(lines string, keep func(object) object) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	for line := range strings.Lines(lines) {
		var event object
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			log.Fatalf("%v: %s", err, line)
		}
		if event = keep(event); event == nil {
			continue
		}
		if err := encoder.Encode(t.value(event)); err != nil {
			log.Fatal(err)
		}
	}
	return out.Bytes()
}

func (t trimmer) value(value any) any {
	switch v := value.(type) {
	case object:
		for name, field := range v {
			if v[name] = t.value(field); noise[name] {
				delete(v, name)
			}
		}
	case []any:
		for i := range v {
			v[i] = t.value(v[i])
		}
	case string:
		return t.text(v)
	}
	return value
}

func (t trimmer) text(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, t.folder, "/workspace"), t.session, sessionID)
	if text = loopback.ReplaceAllString(text, "127.0.0.1:8080"); len(text) > maxString {
		text = strings.ToValidUTF8(text[:maxString], "") + "…"
	}
	return text
}
