"use strict";
// Shows the state of this server's node, every five seconds. Everything is set as text, never as markup.
const show = (id, text) => { document.getElementById(id).textContent = text; };
const ask = async (path) => {
  const answer = await (await fetch(path)).json();
  if (!answer.success) throw new Error(answer.error);
  return answer.data;
};
const rate = (perSecond) => {
  const units = ["H/s", "kH/s", "MH/s", "GH/s", "TH/s"];
  let at = 0;
  while (perSecond >= 1000 && at < units.length - 1) { perSecond /= 1000; at++; }
  return perSecond.toFixed(perSecond < 10 ? 2 : 1) + " " + units[at];
};
const warn = (text) => {
  const box = document.getElementById("warning");
  box.hidden = !text;
  box.textContent = text;
};
const row = (block) => {
  const line = document.createElement("tr");
  for (const text of [block.height, block.timestamp.replace("T", " ").slice(0, 19), block.transaction_count, block.size_bytes, block.hash]) {
    line.appendChild(document.createElement("td")).textContent = text;
  }
  return line;
};
const refresh = async () => {
  try {
    const [health, chain, mining, blocks] = await Promise.all(
      ["/health", "/api/v1/blockchain", "/api/v1/mining/info", "/api/v1/blockchain/blocks/latest"].map(ask));
    show("height", chain.height);
    show("tip", chain.last_block_hash);
    show("mempool", chain.mempool_size);
    show("rate", rate(mining.networkhashps));
    show("peers", health.connected_peers);
    document.getElementById("blocks").replaceChildren(...blocks.map(row));
    warn(health.warning || mining.warnings);
  } catch (problem) {
    warn(String(problem.message || problem));
  }
};
refresh();
setInterval(refresh, 5000);
