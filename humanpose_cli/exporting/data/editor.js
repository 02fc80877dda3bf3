// The page of `hpc view --edit`: joints in the image are dragged, and saved as COCO annotations.
const aspect = data.sizes[0][0] / data.sizes[0][1];
const canvas = find("#joints"), context = canvas.getContext("2d"), video = find("#frames video");
// people: by number, each with joints [x, y, confidence] by frame; a fourth value 1 marks those set by hand.
let people = data.people, frame = 0, chosen = Object.keys(people)[0], held = null, history = [], width, height;
const view = find("#view"), stage = find("#frames");
let zoom = 1;  // 1 shows a complete frame
// Landmarks that move with a joint.
const ends = {wrist: ["pinky", "index", "thumb"], ankle: ["heel", "foot_index"]};

function change(edit) {
  history.push(structuredClone(people));
  edit();
  draw();
}
function mark(joint) { Object.assign(joint, {2: 1, 3: 1}); }
function shown(person, at = frame) { return people[person]?.[at]?.slice(0, data.shown); }
// The frame shown, or also all frames after it.
function frames() { return Array.from({length: find("#later").checked ? data.names.length - frame : 1}, (_, i) => frame + i); }

function draw() {
  const unit = width / canvas.clientWidth;  // pixels of the image in one of the page
  context.clearRect(0, 0, width, height);
  context.font = `${16 * unit}px sans-serif`;
  for (const person of Object.keys(people)) {
    const joints = shown(person);
    if (!joints) continue;
    context.strokeStyle = context.fillStyle = data.colours[person] ?? "white";
    context.globalAlpha = person === chosen ? 1 : 0.5;
    context.lineWidth = 2 * unit;
    for (const [a, b] of data.bones) {
      context.setLineDash(data.joints[b].startsWith("right") ? [6 * unit, 4 * unit] : []);
      context.beginPath();
      context.moveTo(joints[a][0], joints[a][1]);
      context.lineTo(joints[b][0], joints[b][1]);
      context.stroke();
    }
    context.setLineDash([]);
    for (const [x, y, confidence, set] of joints) {
      context.beginPath();
      context.arc(x, y, (set ? 6 : 4) * unit, 0, 2 * Math.PI);
      confidence < 0.3 ? context.stroke() : context.fill();
    }
    context.fillText(person, joints[0][0] + 8 * unit, joints[0][1] - 8 * unit);
  }
  const options = Object.keys(people).map(person => new Option(`person ${person}`, person, false, person === chosen));
  find("#person").replaceChildren(...options);
  const count = Object.values(people).flatMap(Object.values).flat().filter(joint => joint?.[3]).length;
  find("#name").textContent = `${data.names[frame]}, ${count} joints set`;
}
const {show} = timelineOf(data.names, next => {
  frame = next;
  // Frames of other sizes than the first one stand in the middle, as large as its size allows.
  [width, height] = data.sizes[frame];
  const wide = 100 * Math.min(1, width / height / aspect), high = 100 * Math.min(1, height / width * aspect);
  Object.assign(canvas, {width, height, style: `left:${50 - wide / 2}%;top:${50 - high / 2}%;width:${wide}%;height:${high}%`});
  draw();
}, () => video);

const complete = () => Math.min(view.clientWidth / data.sizes[0][0], view.clientHeight / data.sizes[0][1]);
// Zoom, and keep the point of the frame that is at (x, y) of the page.
function scale(next, x = view.offsetLeft + view.clientWidth / 2, y = view.offsetTop + view.clientHeight / 2) {
  const before = stage.getBoundingClientRect();
  zoom = Math.max(1, Math.min(16, next));
  stage.style.width = `${zoom * complete() * data.sizes[0][0]}px`;
  const after = stage.getBoundingClientRect();
  view.scrollLeft += after.left - x + (x - before.left) * after.width / before.width;
  view.scrollTop += after.top - y + (y - before.top) * after.height / before.height;
  draw();
}
find("#smaller").onclick = () => scale(zoom / 1.25);
find("#larger").onclick = () => scale(zoom * 1.25);
find("#complete").onclick = () => scale(1);
find("#wide").onclick = () => scale(view.clientWidth / data.sizes[0][0] / complete());
view.addEventListener("wheel", event => {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  scale(zoom * 1.25 ** -Math.sign(event.deltaY), event.clientX, event.clientY);
}, {passive: false});

function position(event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * width / box.width, (event.clientY - box.top) * height / box.height];
}
canvas.onpointerdown = event => {
  const [x, y] = position(event), reach = 14 * width / canvas.clientWidth;
  const near = Object.keys(people).flatMap(person => (shown(person) ?? []).map(
    (joint, row) => ({person, row, distance: Math.hypot(joint[0] - x, joint[1] - y) - (person === chosen ? reach / 2 : 0)})));
  const [nearest] = near.sort((a, b) => a.distance - b.distance);
  canvas.setPointerCapture(event.pointerId);
  if (!nearest || nearest.distance > reach) return held = {};  // the frame itself is moved
  chosen = nearest.person;
  const {clientX, clientY} = event, [side, name] = data.joints[nearest.row].split("_");
  const rows = [nearest.row, ...(ends[name] ?? []).map(end => data.joints.indexOf(`${side}_${end}`))];
  change(() => mark(people[chosen][frame][nearest.row]));
  held = {joints: rows.map(row => people[chosen][frame][row]).map(joint => [joint, ...joint]), clientX, clientY};
};
canvas.onpointermove = event => {
  if (!held) return;
  if (!held.joints) return view.scrollBy(-event.movementX, -event.movementY);
  const unit = width / canvas.getBoundingClientRect().width, {joints, clientX, clientY} = held;
  for (const [joint, x, y] of joints) [joint[0], joint[1]] = [x + (event.clientX - clientX) * unit, y + (event.clientY - clientY) * unit];
  draw();
};
canvas.onpointerup = canvas.onpointercancel = () => { held = null; };

const actions = {
  lock: () => { for (const at of frames()) shown(chosen, at)?.forEach(mark); },
  swap: () => {
    for (const at of frames()) if (shown(chosen, at)) people[chosen][at] = data.mirror.map(row => people[chosen][at][row]);
  },
  remove: () => { for (const at of frames()) delete people[chosen]?.[at]; },
  rename: number => {
    if (!/^\d+$/.test(number ?? "")) return;
    const [person, other] = [people[chosen], people[number] ??= {}];  // who had this number gets the other one
    for (const at of frames()) [person[at], other[at]] = [other[at], person[at]];
    chosen = number;
  },
};
for (const [name, action] of Object.entries(actions)) {
  find(`#${name}`).onclick = () => {
    const value = name === "rename" ? prompt("New number of this person", chosen) : undefined;
    change(() => action(value));
  };
}
find("#undo").onclick = () => { people = history.pop() ?? people; draw(); };
find("#person").onchange = event => { chosen = event.target.value; draw(); };
document.onkeydown = event => {
  if (event.target !== document.body || event.ctrlKey || event.metaKey) return;
  if (event.key in {"+": 1, "-": 1}) scale(zoom * (event.key === "+" ? 1.25 : 0.8));
};

function annotations() {
  const rows = Object.entries(people).flatMap(([person, byFrame]) => Object.entries(byFrame).filter(([, joints]) => joints).map(([at, joints]) => ({
    image_id: Number(at), category_id: 1, track_id: Number(person), locked: joints.map(([, , , set]) => set ?? 0),
    keypoints: joints.flatMap(([x, y, confidence]) => [x, y, Math.min(confidence, 0.9999)].map(v => Math.round(1e4 * v) / 1e4)),
  })));
  const images = data.names.map((name, id) => ({id, file_name: name, width: data.sizes[id][0], height: data.sizes[id][1]}));
  const categories = [{id: 1, name: "person", keypoints: data.joints}];
  return JSON.stringify({images, categories, annotations: rows.map((row, id) => ({id, ...row}))});
}
find("#save").onclick = () => {
  const address = URL.createObjectURL(new Blob([annotations()], {type: "application/json"}));
  Object.assign(document.createElement("a"), {href: address, download: data.file}).click();
};
window.onresize = () => scale(zoom);
show(0);
scale(1);
document.body.dataset.ready = Object.keys(people).length;
