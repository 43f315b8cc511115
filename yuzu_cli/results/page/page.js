const all=(query,inside=document)=>[...inside.querySelectorAll(query)];
const panels=all('section.target'),bar=document.getElementById('tabs');
const show=id=>{panels.forEach(p=>p.hidden=p.id!==id);
all('button',bar).forEach(b=>b.setAttribute('aria-selected',b.dataset.panel===id))};
const follow=()=>{const to=document.getElementById(decodeURIComponent(location.hash.slice(1)));
const panel=to&&to.closest('section.target');if(panel){if(panels.length>1)show(panel.id);
to.scrollIntoView()}};
if(panels.length>1){for(const p of panels){const b=document.createElement('button');
b.textContent=p.dataset.name;b.dataset.panel=p.id;b.setAttribute('role','tab');
b.onclick=()=>show(p.id);bar.append(b)}show(panels[0].id)}
addEventListener('hashchange',follow);follow();
const search=document.getElementById('search');if(search){search.hidden=false;
search.oninput=()=>{const words=search.value.toLowerCase().split(/\s+/);
all('table.find tbody tr').forEach(row=>{const text=row.textContent.toLowerCase();
row.hidden=!words.every(word=>text.includes(word))})}}
const value=cell=>cell.dataset.value===undefined?cell.textContent:+cell.dataset.value;
all('table.sort th').forEach(head=>{const b=document.createElement('button');
b.append(...head.childNodes);head.append(b);b.onclick=()=>{
const down=head.getAttribute('aria-sort')!=='descending',at=head.cellIndex;
all('th',head.parentNode).forEach(other=>other.removeAttribute('aria-sort'));
head.setAttribute('aria-sort',down?'descending':'ascending');
const body=head.closest('table').tBodies[0];
const compare=(a,b)=>typeof a==='number'&&typeof b==='number'?a-b:String(a).localeCompare(b);
[...body.rows].sort((a,b)=>(down?-1:1)*compare(value(a.cells[at]),value(b.cells[at])))
.forEach(row=>body.append(row))}});
