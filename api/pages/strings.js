// All texts of the page in both languages. A test checks that both have the same keys.
export const STRINGS = {
  en: {
    publish: "Publish", record: "Record", files: "Files", webhooks: "Webhooks",
    channel: "Channel", source: "Source", pattern: "Test pattern", camera: "Camera and microphone",
    codec: "Video codec", resolution: "Resolution", bitrate: "Bit rate, kbit/s", send: "Send", video: "Video", audio: "Audio",
    startPublishing: "Publish", stopPublishing: "Stop publishing", nothingToSend: "Choose video, audio or both.",
    connecting: "connecting", connected: "publishing", ended: "ended", failed: "failed",
    noCamera: "The browser gives no camera here: use https or localhost, or the test pattern.",
    loss: "{percent} % lost", expireTime: "Ends after, s (0: never)", splitDuration: "Split every, s", metadata: "Metadata, JSON",
    splitOnly: "Parts only", startRecording: "Start recording", stopRecording: "Stop recording",
    noRecordings: "Nothing is being recorded.", noFiles: "No finished files yet.", moreFiles: "Show more",
    noWebhooks: "No webhooks yet.", waiting: "Waiting for somebody to publish in this channel.",
    toExpiry: "Time until the recording ends", toSplit: "Time until the next part", part: "part {number}",
    token: "The API's token (api_bearer_token)", badMetadata: "The metadata is not JSON.", download: "Download", showMetadata: "Metadata", showBody: "Body",
    retry: "Retry", attempts: "attempts: {count}", due: "due {time}", dueNow: "due now",
    delivered: "delivered", pending: "waiting", parked: "refused", dead: "given up", unsent: "only logged", dropped: "dropped",
    online: "Recordings {recordings} · connections {connections}", offline: "No connection to the daemon; trying again",
    partOf: "Part {number}", whole: "Whole file", remove: "Remove",
    broken: "The connection to the daemon broke off.", unreachable: "The daemon does not answer.", cancel: "Cancel", use: "Use it",
    cameraRefused: "The browser was told not to give its camera or microphone.", cameraMissing: "The browser has no such camera or microphone that is free.",
    onlyLogged: "No event_webhook_url is set: events are in the log and here, and posted to nobody.",
  },
  ja: {
    publish: "配信", record: "録画", files: "ファイル", webhooks: "ウェブフック",
    channel: "チャネル", source: "映像と音声", pattern: "テストパターン", camera: "カメラとマイク",
    codec: "映像コーデック", resolution: "解像度", bitrate: "ビットレート (kbit/s)", send: "送信", video: "映像", audio: "音声",
    startPublishing: "配信する", stopPublishing: "配信を止める", nothingToSend: "映像か音声を選んでください。",
    connecting: "接続中", connected: "配信中", ended: "終了", failed: "失敗",
    noCamera: "ここではカメラを使えません。https か localhost で開くか、テストパターンを使ってください。",
    loss: "損失 {percent} %", expireTime: "終了まで (秒、0 は無期限)", splitDuration: "分割間隔 (秒)", metadata: "メタデータ (JSON)",
    splitOnly: "分割のみ", startRecording: "録画を開始", stopRecording: "録画を停止",
    noRecordings: "録画中のチャネルはありません。", noFiles: "完成したファイルはまだありません。", moreFiles: "もっと見る",
    noWebhooks: "ウェブフックはまだありません。", waiting: "このチャネルへの配信を待っています。",
    toExpiry: "録画の終了まで", toSplit: "次の分割まで", part: "パート {number}",
    token: "API のトークン (api_bearer_token)", badMetadata: "メタデータが JSON ではありません。", download: "ダウンロード", showMetadata: "メタデータ", showBody: "本文",
    retry: "再送", attempts: "{count} 回試行", due: "次回 {time}", dueNow: "まもなく送信",
    delivered: "送信済み", pending: "送信待ち", parked: "拒否", dead: "断念", unsent: "ログのみ", dropped: "破棄",
    online: "録画 {recordings} 件 · 接続 {connections} 件", offline: "デーモンに接続できません。再接続しています",
    partOf: "パート {number}", whole: "全体", remove: "消す",
    broken: "デーモンとの接続が切れました。", unreachable: "デーモンが応答しません。", cancel: "キャンセル", use: "使う",
    cameraRefused: "カメラやマイクの使用が許可されていません。", cameraMissing: "使えるカメラやマイクがありません。",
    onlyLogged: "event_webhook_url が未設定です。イベントはログとこの画面に残るだけで、送信されません。",
  },
};

// Texts for error types of the API.
export const REASONS = {
  en: {
    "STARTED-RECORDING": "This channel is being recorded already.", "NOT-STARTED-RECORDING": "This channel is not being recorded.",
    "ARCHIVE-DIR-UNAVAILABLE": "The disk takes no recording.", "STORE-UNAVAILABLE": "The daemon's store does not answer.",
    InvalidJSON: "The daemon does not take these values.", UNAUTHORIZED: "The daemon wants its token.",
    ICE: "No way was found for the media: is the daemon's UDP port within reach?",
  },
  ja: {
    "STARTED-RECORDING": "このチャネルはすでに録画中です。", "NOT-STARTED-RECORDING": "このチャネルは録画されていません。",
    "ARCHIVE-DIR-UNAVAILABLE": "ディスクに録画を書き込めません。", "STORE-UNAVAILABLE": "デーモンのストアが応答しません。",
    InvalidJSON: "指定した値は使えません。", UNAUTHORIZED: "API のトークンが必要です。",
    ICE: "メディアの経路が見つかりません。デーモンの UDP ポートに届くか確認してください。",
  },
};

const languages = globalThis.navigator?.languages ?? [];
export const language = languages.map((each) => each.slice(0, 2)).find((each) => each in STRINGS) ?? "en";

export function text(key, values = {}) {
  return STRINGS[language][key].replace(/\{(\w+)\}/g, (_all, name) => values[name]);
}

// Returns the text of an error type; an unknown one is returned unchanged.
export function reason(errorType) {
  const sentence = REASONS[language][errorType];
  return sentence ? `${sentence} (${errorType})` : errorType;
}
